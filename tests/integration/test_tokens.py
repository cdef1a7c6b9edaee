"""API tokens as an operator handles them: the command, and the gateway that follows it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from clawdbot.schema.tokens import public_jwk
from tests.integration.system import Collector, System, until


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


def test_a_token_works_until_it_is_revoked_and_the_list_shows_it(
    system: System, collector: Collector
) -> None:
    token = command(system, "token", "create", "--subject", "tess", "--ttl", "1h")
    kept = command(system, "token", "create", "--subject", "tess")
    answer = ask(system, token)
    assert answer.status_code == 200, answer.text

    listed = command(system, "token", "list")
    token_id = next(line for line in listed.splitlines() if "tess" in line).split()[1]
    command(system, "token", "revoke", token_id)

    refused(system, token)
    assert status(system, kept) == 404
    shown = next(line for line in command(system, "token", "list").splitlines() if token_id in line)
    assert shown.count("Z ") == 3, "created, expires and revoked"
    assert token not in listed
    shown_in_trace = [
        item.value.string_value
        for _, span in collector.trace(answer.headers["x-trace-id"])
        for item in span.attributes
        if item.key == "clawdbot.token_id"
    ]
    assert shown_in_trace == [token_id]


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


class Provider:
    """An identity provider on the loopback address, which has no keys at first."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(65537, 2048)
        self.jwk = public_jwk(self.key.public_key())
        self.keys: list[dict[str, str]] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = json.dumps({"keys": provider.keys}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/keys"

    def token(self, **claims: object) -> str:
        now = int(time.time())
        about = {
            "iss": "https://id.example",
            "aud": "our-api",
            "sub": "ada",
            "scope": "openid chat",
        }
        return jwt.encode(
            {**about, "iat": now, "exp": now + 300, **claims},
            self.key,
            algorithm="RS256",
            headers={"kid": self.jwk["kid"]},
        )


@pytest.fixture
def provider() -> Iterator[Provider]:
    running = Provider()
    thread = threading.Thread(target=running.server.serve_forever)
    thread.start()
    yield running
    running.server.shutdown()
    thread.join()
    running.server.server_close()


def test_tokens_of_an_identity_provider_are_believed_once_its_keys_are_there(
    new_system: Callable[..., System], provider: Provider
) -> None:
    rules = {
        "algorithm": "RS256",
        "issuer": "https://id.example",
        "audience": "our-api",
        "jwks_url": provider.url,
        "scopes_claim": "scope",
        "default_tenant": "default",
    }
    system = new_system(gateway={"jwt": rules})
    with system.running("gateway") as running:
        token = provider.token(jti="session:1")
        early, readiness = status(running, token), running.http.get("/readyz")
        assert (early, readiness.status_code) == (503, 503)
        assert "token-keys" in readiness.json()["failing"]

        provider.keys = [provider.jwk]
        until(lambda: running.http.get("/readyz").status_code == 200, 20, "the keys")
        assert status(running, token) == 404
        assert status(running, provider.token(aud="another-api")) == 401

        command(running, "token", "revoke", "session:1")
        refused(running, token)


def test_a_gateway_with_two_secrets_believes_both(new_system: Callable[..., System]) -> None:
    system = new_system()
    with system.running("gateway") as running:
        old = running.token()
        command(running, "token", "rotate")
        running.find("gateway").terminate()
        running.start("gateway").wait_ready()
        tokens: list[Any] = [old, running.token()]

        assert [status(running, token) for token in tokens] == [404, 404]
