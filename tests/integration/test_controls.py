"""Approvals and stops as people meet them: asked, answered by word, carried out once."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.integration.system import System, until

NOTHING_RUN_S = 5
"""A stop is heard at once; the rest is the reply's way through busy cores."""


def ask_python(system: System, code: str, sender: str) -> tuple[str, dict[str, Any]]:
    """Ask for a line of Python; return the code under which it waits, and the question."""
    question = system.ask(f"/python {code}", sender=sender)
    found = re.search(r"/approve ([0-9A-Z]{10})", question["content"])
    assert found is not None, question["content"]
    return found[1], question


def test_what_is_approved_is_run_once_and_reported(system: System) -> None:
    code, question = ask_python(system, "print(6 * 7)", "approver")

    report = system.ask(f"/approve {code}", sender="approver")
    again = system.ask(f"/approve {code}", sender="approver")

    assert '"print(6 * 7)"' in question["content"]
    assert question["metadata"]["approval"]["code"] == code
    assert report["content"] == "Python\n```\n42\n```"
    assert report["metadata"]["instruction"] == "python.snippet"
    assert "has been run" in again["content"]


def test_the_same_answer_sent_again_has_one_reply(system: System) -> None:
    code, _ = ask_python(system, "print('once')", "again")
    accepted = [
        system.post(f"/approve {code}", sender="again", message_id="answer-1").json()
        for _ in range(3)
    ]

    replies = [system.reply(each) for each in accepted]

    assert replies[0]["content"] == "Python\n```\nonce\n```"
    assert replies == [replies[0]] * 3


def test_what_is_denied_is_not_run(system: System) -> None:
    code, _ = ask_python(system, "print(1)", "denier")

    denied = system.ask(f"／拒绝　{code.lower()}", sender="denier")
    approved = system.ask(f"/approve {code}", sender="denier")

    assert denied["content"] == "已拒绝，没有执行任何操作。"
    assert (approved["kind"], approved["metadata"]["error"]["code"]) == (
        "error",
        "approval_denied",
    )


def test_somebody_else_cannot_approve(system: System) -> None:
    code, _ = ask_python(system, "print('mine')", "victim")

    stolen = system.ask(f"/approve {code}", sender="thief")
    mine = system.ask(f"/approve {code}", sender="victim")

    assert stolen["metadata"]["error"]["code"] == "forbidden"
    assert "mine" not in stolen["content"]
    assert mine["content"] == "Python\n```\nmine\n```"


def test_an_unknown_code_is_told_as_one(system: System) -> None:
    reply = system.ask("/approve AAAAAAAAAA", sender="guesser")

    assert reply["content"] == "Nothing waits for an answer under the code AAAAAAAAAA."


@pytest.mark.parametrize(("scopes", "status"), [(("chat",), 403), (("chat", "approve"), 404)])
def test_a_token_needs_the_scope_to_approve(
    system: System, scopes: tuple[str, ...], status: int
) -> None:
    headers = {"Authorization": f"Bearer {system.token('owner', *scopes)}"}
    body = {"content": "/approve AAAAAAAAAA"}

    answer = system.http.post("/api/chat", json=body, headers=headers, timeout=60)

    assert answer.status_code == status


def test_while_the_executor_is_away_the_answer_is_to_be_sent_again(
    new_system: Callable[..., System],
) -> None:
    with new_system().running() as system:
        code, _ = ask_python(system, "print('later')", "patient")
        system.find("executor").terminate()

        refused = system.post(f"/approve {code}", sender="patient", message_id="answer-1")
        system.add("executor")
        accepted = system.post(f"/approve {code}", sender="patient", message_id="answer-1")

        assert refused.status_code == 503
        assert system.reply(accepted.json())["content"] == "Python\n```\nlater\n```"


def test_a_stop_ends_a_long_answer_within_seconds(new_system: Callable[..., System]) -> None:
    with new_system(assistant={"max_tokens": 1500}).running() as system:
        story = system.post(
            "Write a long story about a dragon and a castle.", sender="impatient"
        ).json()
        waiting = system.post("And then tell me about the sea.", sender="impatient").json()
        _wait_until_it_is_being_written(system)
        stopped_at = time.monotonic()

        stop = system.post("/stop", sender="impatient").json()
        answers = [system.reply(each, NOTHING_RUN_S) for each in (story, waiting, stop)]
        took_s = time.monotonic() - stopped_at

        assert answers[0]["metadata"]["finish_reason"] == "cancelled"
        assert answers[0]["content"].endswith("(Stopped.)")
        assert [each["content"] for each in answers[1:]] == ["Stopped.", "Stopped."]
        assert system.count("OUTBOUND") == 3
        print(f"stopped within {took_s:.2f} s")  # noqa: T201 -- shown by pytest -s

        quiet = system.ask("/stop", sender="impatient")
        assert quiet["content"] == "There was nothing to stop."


def _wait_until_it_is_being_written(system: System) -> None:
    port = system.config.ops.health_ports.assistant

    def has_begun() -> bool:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        return "clawdbot_assistant_first_token_seconds_count 1.0" in text

    until(has_begun, 30, "the first words")


def test_no_log_holds_a_code(system: System) -> None:
    code, _ = ask_python(system, "print(1)", "quiet")
    system.ask(f"/deny {code}", sender="quiet")

    for service in system.services:
        assert code not in json.dumps(service.log.read_text())
