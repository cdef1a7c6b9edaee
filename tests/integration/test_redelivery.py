"""Once, whatever is repeated or dies in between."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.integration.system import Service, System, until

BODY = json.dumps(
    {"sender_id": "user123", "content": "/sysinfo", "timestamp": 1672531200, "attachments": []}
).encode()


def test_the_same_delivery_is_answered_once_also_after_restarts(
    new_system: Callable[..., System],
) -> None:
    with new_system().running("gateway", "assistant", "memory", "executor", "inference") as system:
        first = system.post_raw(BODY)
        again = [system.post_raw(BODY) for _ in range(2)]
        system.reply(first.json())

        system.portal.call(system.broker_process.kill)
        system.portal.call(system.broker_process.start)
        gateway = system.find("gateway")
        assert gateway.terminate() == 0
        system.add("gateway")
        late = [system.post_raw(BODY) for _ in range(2)]

        assert first.status_code == 202
        assert {answer.status_code for answer in again + late} == {200}
        assert {answer.json()["message_id"] for answer in [first, *again, *late]} == {
            first.json()["message_id"]
        }
        assert system.count("INBOUND") == 1
        assert system.count("OUTBOUND") == 1


def test_another_body_under_the_same_id_is_a_conflict(system: System) -> None:
    first = system.post("/sysinfo", sender="twice", message_id="order-1")
    other = system.post("/help", sender="twice", message_id="order-1")

    assert (first.status_code, other.status_code) == (202, 409)
    assert other.json()["code"] == "id_reused"


def test_copies_at_the_same_time_are_one_message(system: System) -> None:
    body = json.dumps(
        {"sender_id": "burst", "content": "/sysinfo", "timestamp": 1, "message_id": "burst-1"}
    ).encode()
    before = system.count("INBOUND")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: system.post_raw(body), range(16)))

    assert sorted(answer.status_code for answer in answers) == [200] * 15 + [202]
    assert system.count("INBOUND") == before + 1


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.proof)])
def test_a_killed_assistant_leaves_one_reply_each_in_order(
    new_system: Callable[..., System], times: int
) -> None:
    """Three workers, one killed with SIGKILL in the middle of a turn, others undisturbed."""
    with new_system(assistant={"max_tokens": 60}).running() as system:
        for number in range(times):
            kill_once(system, number)
        assert system.dead_letters() == []


def kill_once(system: System, number: int) -> None:
    while sum(s.name == "assistant" and s.process.poll() is None for s in system.services) < 3:
        system.add("assistant")
    sender = f"victim-{number}"
    accepted = [
        system.post(f"Tell me a long story about the number {turn}.", sender=sender).json()
        for turn in range(3)
    ]
    others = [system.post("系统信息", sender=f"other-{number}-{turn}").json() for turn in range(3)]

    working_on(system, accepted[0]["conversation_id"]).kill()

    for message in others:
        assert system.reply(message)["kind"] == "reply"
    replies = [system.reply(message) for message in accepted]
    assert [reply["kind"] for reply in replies] == ["reply"] * 3
    sequence = [order_of_reply(system, message) for message in accepted]
    assert sequence == sorted(sequence)
    for message in accepted + others:
        assert system.count("OUTBOUND", f"claw.out.*.*.*.{message['message_id']}.>") == 1


def working_on(system: System, conversation_id: str) -> Service:
    """Return the assistant that writes an answer in the conversation right now."""
    pid = until(lambda: system.holder(conversation_id), 30, "the turn starting")
    return next(service for service in system.services if service.process.pid == pid)


def order_of_reply(system: System, message: dict[str, Any]) -> int:
    return system.sequence("OUTBOUND", f"claw.out.*.*.*.{message['message_id']}.0")
