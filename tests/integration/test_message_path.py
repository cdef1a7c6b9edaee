"""From a signed message to a remembered, model-written answer, and every way to be refused."""

from __future__ import annotations

import json
import re

import httpx
import pytest

from clawdbot.schema.permissions import SERVICES
from tests.integration.system import System, events


def test_a_signed_message_is_answered_by_the_chat_model(system: System) -> None:
    reply = system.ask("Hello! Tell me about the sea.", sender="path")

    assert reply["kind"] == "reply"
    assert len(reply["content"].split()) > 3
    assert reply["metadata"]["model"].startswith("smollm2-135m-instruct")
    assert reply["metadata"]["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize(
    ("fact", "question", "word"),
    [
        ("My dog is called Biscuit.", "What is the name of my dog?", "Biscuit"),
        ("我的生日是三月五日。", "我的生日是哪一天?", "三月五日"),
    ],
    ids=["english", "chinese"],
)
def test_a_fact_that_was_told_is_recalled(
    system: System, fact: str, question: str, word: str
) -> None:
    sender = f"told-{word}"
    system.ask(fact, sender=sender)
    system.ask("The weather is nice today.", sender=sender)

    reply = system.ask(question, sender=sender)

    recalled = [memory["content"] for memory in reply["metadata"]["recalled"]]
    assert any(word in content for content in recalled)


def test_nobody_recalls_what_somebody_else_told(system: System) -> None:
    system.ask("My secret number is 7391.", sender="alice")

    reply = system.ask("What is my secret number?", sender="bob")

    assert reply["metadata"]["recalled"] == []
    assert "7391" not in reply["content"]


def test_system_information_comes_from_the_sandbox(system: System) -> None:
    reply = system.ask("系统信息", sender="ops")

    assert reply["metadata"]["instruction"] == "system.info"
    assert "Linux" in reply["content"]


def test_the_api_streams_the_answer_as_it_is_written(system: System) -> None:
    headers = {"Authorization": f"Bearer {system.token()}"}
    body = {"content": "Say hello to the world.", "stream": True}

    with system.http.stream("POST", "/api/chat", json=body, headers=headers, timeout=60) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        found = events("".join(answer.iter_text()))

    deltas = [data["text"] for name, data in found if name == "delta"]
    [final] = [data for name, data in found if name == "message"]
    assert len(deltas) > 1
    assert "".join(deltas).strip() == final["content"].strip()


def test_the_api_answers_in_one_piece(system: System) -> None:
    headers = {"Authorization": f"Bearer {system.token()}"}

    answer = system.http.post("/api/chat", json={"content": "Hello!"}, headers=headers, timeout=60)

    assert answer.status_code == 200
    assert answer.json()["content"]
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-trace-id"])


@pytest.mark.parametrize(
    "signatures",
    [
        [],
        [""],
        ["0" * 64],
        ["sha256=" + "0" * 64],
        ["RIGHT", "RIGHT"],
        ["RIGHT", "0" * 64],
        ["é" * 64],
        ["RIGHT "[:-1] + "00"],
        ["zz" * 32],
    ],
    ids=[
        "missing",
        "empty",
        "forged",
        "forged with prefix",
        "doubled",
        "right and forged",
        "not ASCII",
        "too long",
        "no hex",
    ],
)
def test_a_wrong_signature_publishes_nothing(system: System, signatures: list[str]) -> None:
    body = b'{"sender_id":"mallory","content":"hi","timestamp":1672531200}'
    right = system.sign(body)
    headers = [
        (b"X-Signature", value.replace("RIGHT", right).encode("latin-1")) for value in signatures
    ]
    before = system.count("INBOUND")

    answer = system.http.post("/api/messages", content=body, headers=headers)

    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert right not in answer.text
    assert system.count("INBOUND") == before


@pytest.mark.parametrize("prefix", ["", "sha256="])
def test_the_signature_may_carry_its_prefix(system: System, prefix: str) -> None:
    body = json.dumps(
        {"sender_id": "u", "content": "/sysinfo", "timestamp": 1, "message_id": f"p{prefix}"}
    ).encode()

    answer = system.http.post(
        "/api/messages", content=body, headers={"X-Signature": prefix + system.sign(body)}
    )

    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"{", 400, None),
        (b"[]", 400, None),
        (b"\xff\xfe", 400, None),
        (b'{"content":"x","timestamp":1}', 422, "sender_id"),
        (b'{"sender_id":"u","content":7,"timestamp":1}', 422, "content"),
        (b'{"sender_id":"u","content":"x","timestamp":"soon"}', 422, "timestamp"),
        (b'{"sender_id":"u","content":"x","timestamp":NaN}', 400, None),
        (b'{"a":' * 500 + b"1" + b"}" * 500, 400, None),
    ],
)
def test_bad_input_is_named_with_its_fix(
    system: System, body: bytes, status: int, field: str | None
) -> None:
    answer = system.post_raw(body)

    problem = answer.json()
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem.get("field") == field
    assert "Traceback" not in answer.text


def test_a_message_over_the_limit_is_refused(system: System) -> None:
    answer = system.post_raw(b'{"content":"' + b"x" * 2_000_000 + b'"}')

    assert answer.status_code == 413


def test_an_unknown_message_is_not_found(system: System) -> None:
    path = "/api/messages/aaaaaaaaaaaaaaaaaaaaaaaaaa"

    answer = system.http.get(path, headers={"X-Signature": system.sign(path.encode())})

    assert answer.status_code == 404


def test_a_stranger_cannot_read_a_reply(system: System) -> None:
    accepted = system.post("Hello!", sender="private").json()
    path = accepted["status_url"][accepted["status_url"].index("/api/") :]

    assert system.http.get(path).status_code == 401
    stranger = {"Authorization": f"Bearer {system.token('stranger')}"}
    assert system.http.get(path, headers=stranger).status_code in (403, 404)


def test_the_console_is_served_with_a_strict_policy(system: System) -> None:
    page = system.http.get("/")

    assert page.status_code == 200
    assert "<script" in page.text
    policy = page.headers["content-security-policy"]
    assert "unsafe-inline" not in policy
    assert "default-src 'none'" in policy or "default-src 'self'" in policy


def test_every_service_shows_its_health_and_metrics(system: System) -> None:
    ports = system.config.ops.health_ports.model_dump()
    assert set(ports) == set(SERVICES)

    for name, port in ports.items():
        base = f"http://127.0.0.1:{port}"
        assert httpx.get(f"{base}/healthz").json()["service"] == name
        assert httpx.get(f"{base}/readyz").status_code == 200, name
        assert "clawdbot_bus_connected 1.0" in httpx.get(f"{base}/metrics").text


def test_no_log_holds_what_was_said_or_a_secret(system: System) -> None:
    system.ask("The canary sings xylophone-4711.", sender="canary")
    secrets = [
        system.secrets.text(name) for name in ("webhook_secret", "jwt_secret", "jetstream_key")
    ]

    for service in system.services:
        written = service.log.read_text()
        assert "xylophone" not in written
        assert not any(secret in written for secret in secrets)
