from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator

import httpx
import pytest

from clawdbot.gateway.adapters.body import BodyLimits
from clawdbot.schema.errors import DeadlineExceeded, Unavailable
from clawdbot.schema.principal import Scope


async def test_a_signed_message_is_accepted_once_it_is_kept(door, post_signed, payload) -> None:
    answer = await post_signed(payload(platform="slack"))

    assert answer.status_code == 202
    record = answer.json()
    kept = door.inbox.kept[record["message_id"]]
    assert record == {
        "message_id": kept.message_id,
        "conversation_id": kept.conversation_id,
        "status": "accepted",
        "status_url": f"/api/messages/{kept.message_id}",
    }
    assert (kept.platform, kept.content, kept.channel, kept.tenant) == (
        "slack",
        "hello",
        "webhook",
        "default",
    )
    assert kept.deadline_ms == kept.accepted_at_ms + 3_600_000


async def test_the_principal_speaks_for_the_sender_in_that_conversation(
    door, post_signed, payload
) -> None:
    record = (await post_signed(payload())).json()

    principal = door.inbox.principals[record["message_id"]]
    assert principal.scopes == {Scope.CHAT, Scope.MEMORY_READ, Scope.MEMORY_WRITE}
    assert principal.conversation_id == record["conversation_id"]
    assert "user123" not in principal.user


async def test_the_same_name_on_two_platforms_is_two_users(door, post_signed, payload) -> None:
    for platform in ("slack", "line"):
        await post_signed(payload(platform=platform))

    assert len({principal.user for principal in door.inbox.principals.values()}) == 2


async def test_a_repetition_gets_the_same_answer_with_200(door, post_signed, payload) -> None:
    first = await post_signed(payload(message_id="m1"))
    second = await post_signed(payload(message_id="m1", unknown="field"))

    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json() == second.json()
    assert len(door.inbox.kept) == 1


async def test_the_exact_body_is_the_identity_when_no_id_is_given(
    door, post_signed, payload
) -> None:
    statuses = [
        (await post_signed(payload(timestamp=stamp))).status_code
        for stamp in (1672531200, 1672531200, 1672531201)
    ]

    assert statuses == [202, 200, 202]


async def test_another_message_under_a_used_id_is_a_conflict(door, post_signed, payload) -> None:
    await post_signed(payload(message_id="m1"))
    answer = await post_signed(payload(message_id="m1", content="something else"))

    assert answer.status_code == 409
    assert answer.json()["code"] == "id_reused"
    assert [message.content for message in door.inbox.kept.values()] == ["hello"]


@pytest.mark.parametrize("values", [[], [""], ["a" * 64] * 2, ["nonsense"], ["a" * 64]])
async def test_every_way_a_signature_fails_looks_the_same(
    door, client: httpx.AsyncClient, payload, values: list[str]
) -> None:
    headers = [("X-Signature", value) for value in values]

    answer = await client.post("/api/messages", content=payload(), headers=headers)

    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert "www-authenticate" not in answer.headers
    told = {name: value for name, value in answer.json().items() if name != "trace_id"}
    assert told == {
        "type": "urn:problem-type:clawdbot:unauthenticated",
        "title": "Unauthorized",
        "status": 401,
        "detail": "the request is not signed by anybody we know",
        "code": "unauthenticated",
        "fix": "send one X-Signature header with the hex HMAC-SHA256 under the webhook secret",
    }
    assert not door.inbox.kept


async def test_two_right_signatures_are_refused_too(door, client, payload, sign) -> None:
    body = payload()
    headers = [("X-Signature", sign(body))] * 2

    answer = await client.post("/api/messages", content=body, headers=headers)

    assert answer.status_code == 401
    assert not door.inbox.kept


async def test_a_non_ascii_signature_is_401_not_500(client, payload) -> None:
    headers = [(b"X-Signature", b"\xff" * 64)]

    answer = await client.post("/api/messages", content=payload(), headers=headers)

    assert answer.status_code == 401


async def test_nothing_is_parsed_that_is_not_signed(client) -> None:
    answer = await client.post(
        "/api/messages", content=b"not json", headers={"X-Signature": "a" * 64}
    )

    assert answer.status_code == 401


async def test_a_missing_signature_is_refused_before_the_body_is_read(client) -> None:
    async def body() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    answer = await client.post("/api/messages", content=body())

    assert answer.status_code == 401


@pytest.mark.parametrize("body", [b"not json", b"[]", b'{"a":NaN}', b"[" * 2000, b"\xff"])
async def test_signed_nonsense_is_400(door, post_signed, body: bytes) -> None:
    answer = await post_signed(body)

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_payload")
    assert not door.inbox.kept


async def test_a_wrong_field_is_422_naming_it_and_the_fix(post_signed, payload) -> None:
    answer = await post_signed(payload(timestamp="hunter2"))

    problem = answer.json()
    assert answer.status_code == 422
    assert (problem["field"], problem["fix"]) == (
        "timestamp",
        "send 'timestamp' as a whole number",
    )
    assert "hunter2" not in answer.text


async def test_a_compressed_body_is_415(post_signed, payload) -> None:
    answer = await post_signed(gzip.compress(payload()), **{"Content-Encoding": "gzip"})

    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_encoding")


async def test_an_announced_or_streamed_body_over_the_limit_is_413(client, sign) -> None:
    async def stream() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x" * 1000

    announced = await client.post(
        "/api/messages", content=b"x" * 5000, headers={"X-Signature": "a" * 64}
    )
    streamed = await client.post(
        "/api/messages", content=stream(), headers={"X-Signature": "a" * 64}
    )

    assert (announced.status_code, streamed.status_code) == (413, 413)
    assert announced.headers["connection"] == "close"


async def test_a_body_that_is_too_long_is_read_to_its_end_so_that_the_answer_arrives(
    client,
) -> None:
    read = 0

    async def stream() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(20):
            read += 1
            yield b"x" * 1000

    headers = {"X-Signature": "a" * 64}
    answer = await client.post("/api/messages", content=stream(), headers=headers)

    assert (answer.status_code, read) == (413, 20)


async def test_a_client_that_asks_before_it_sends_is_refused_at_once(client) -> None:
    async def stream() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    headers = {"X-Signature": "a" * 64, "Expect": "100-continue", "Content-Length": "5000"}
    answer = await client.post("/api/messages", content=stream(), headers=headers)

    assert answer.status_code == 413


async def test_a_body_that_drips_is_408(door) -> None:
    sent: list[dict[str, object]] = []

    async def never() -> dict[str, object]:
        await asyncio.Event().wait()
        return {}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    await door.app()(scope([(b"x-signature", b"a" * 64)]), never, send)

    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]


async def test_unsigned_bodies_that_never_end_do_not_keep_out_signed_ones(
    door, sign, payload
) -> None:
    door.limits = BodyLimits(4096, 60)
    app, reading, statuses = door.app(), asyncio.Semaphore(0), []

    async def never() -> dict[str, object]:
        reading.release()
        await asyncio.Event().wait()
        return {}

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    stalled = [
        asyncio.create_task(app(scope([(b"x-signature", b"a" * 64)]), never, send))
        for _ in range(4)
    ]
    for _ in stalled:
        await reading.acquire()
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        body = payload()
        answer = await client.post(
            "/api/messages", content=body, headers={"X-Signature": sign(body)}
        )
    await stalled[0]

    assert answer.status_code == 202
    assert statuses == [408]
    assert not any(task.done() for task in stalled[1:])
    for task in stalled:
        task.cancel()
    await asyncio.gather(*stalled, return_exceptions=True)


def test_who_is_not_known_yet_has_5_seconds_for_a_body_at_most() -> None:
    assert BodyLimits(1, 60).unverified() == BodyLimits(1, 5)
    assert BodyLimits(1, 0.5).unverified() == BodyLimits(1, 0.5)


def scope(headers: list[tuple[bytes, bytes]]) -> dict[str, object]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/api/messages",
        "raw_path": b"/api/messages",
        "root_path": "",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }


async def test_a_client_that_leaves_in_mid_body_publishes_nothing(door) -> None:
    sent: list[dict[str, object]] = []

    async def leave() -> dict[str, object]:
        return {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    await door.app()(scope([(b"x-signature", b"a" * 64)]), leave, send)

    assert sent[0]["status"] == 400
    assert not door.inbox.kept


async def test_too_many_at_the_same_time_are_429_with_a_wait(door, post_signed, payload) -> None:
    with door.gate.enter(), door.gate.enter(), door.gate.enter(), door.gate.enter():
        answer = await post_signed(payload())

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert (await post_signed(payload())).status_code == 202


@pytest.mark.parametrize(
    "failure", [Unavailable("the broker is not reachable"), DeadlineExceeded("too late")]
)
async def test_without_the_brokers_word_it_is_503_with_a_wait(
    door, post_signed, payload, failure
) -> None:
    door.inbox.failure = failure
    answer = await post_signed(payload())

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["code"] == "unavailable"


async def test_another_method_is_405_and_says_which_are_allowed(client) -> None:
    answer = await client.get("/api/messages")

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["code"] == "method_not_allowed"
