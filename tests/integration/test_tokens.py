"""API tokens as an operator handles them: the command, and the gateway that follows it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.integration.system import System, until


def command(system: System, *arguments: str) -> str:
    """Return what `clawdbot` prints in the folder of the system."""
    done = subprocess.run(
        [sys.executable, "-m", "clawdbot.cli.main", *arguments],
        cwd=system.directory,
        env={"PATH": os.environ["PATH"], "CLAWDBOT_CONFIG": str(system.directory / "config.yaml")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def ask(system: System, token: str) -> httpx.Response:
    return system.http.post(
        "/api/chat",
        json={"content": "Say one word.", "message_id": f"q{time.monotonic_ns()}"},
        headers={"Authorization": f"Bearer {token}"},
        timeout=90,
    )


def status(system: System, token: str) -> int:
    """Ask for a message that is not there: 404 for whom the gateway believes, else 401."""
    headers = {"Authorization": f"Bearer {token}"}
    return system.http.get("/api/messages/nothing", headers=headers).status_code


def refused(system: System, token: str) -> None:
    until(lambda: status(system, token) == 401, 2, "the refusal of a revoked token")


def test_a_token_works_until_it_is_revoked_and_the_list_shows_it(system: System) -> None:
    token = command(system, "token", "create", "--subject", "tess", "--ttl", "1h")
    kept = command(system, "token", "create", "--subject", "tess")
    assert ask(system, token).status_code == 200

    listed = command(system, "token", "list")
    token_id = next(line for line in listed.splitlines() if "tess" in line).split()[1]
    command(system, "token", "revoke", token_id)

    refused(system, token)
    assert status(system, kept) == 404
    shown = next(line for line in command(system, "token", "list").splitlines() if token_id in line)
    assert shown.count("Z ") == 3, "created, expires and revoked"
    assert token not in listed


def test_all_tokens_of_a_subject_are_revoked_and_a_new_one_counts(system: System) -> None:
    before = [command(system, "token", "create", "--subject", "sub") for _ in range(2)]
    command(system, "token", "revoke", "--subject", "sub")
    after = command(system, "token", "create", "--subject", "sub")

    for token in before:
        refused(system, token)
    assert status(system, after) == 404


@pytest.mark.parametrize("algorithm", ["RS256", "EdDSA"])
def test_keys_of_another_algorithm_are_made_believed_and_rotated(
    new_system: Callable[..., System], algorithm: str
) -> None:
    system = new_system(gateway={"jwt": {"algorithm": algorithm}})
    command(system, "token", "rotate")
    with system.running("gateway") as running:
        old = command(running, "token", "create")
        assert status(running, old) == 404

        command(running, "token", "rotate")
        running.find("gateway").terminate()
        running.start("gateway").wait_ready()
        new = command(running, "token", "create")
        assert [status(running, token) for token in (old, new)] == [404, 404]

        command(running, "token", "rotate", "--drop-old")
        running.find("gateway").terminate()
        running.start("gateway").wait_ready()
        assert [status(running, token) for token in (old, new)] == [401, 404]


def test_a_gateway_with_two_secrets_believes_both(new_system: Callable[..., System]) -> None:
    system = new_system()
    with system.running("gateway") as running:
        old = running.token()
        command(running, "token", "rotate")
        running.find("gateway").terminate()
        running.start("gateway").wait_ready()
        tokens: list[Any] = [old, running.token()]

        assert [status(running, token) for token in tokens] == [404, 404]
