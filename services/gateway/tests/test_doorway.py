"""Limits at the door: what is refused before its body is read, and what passes all the same."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest

from clawdbot.gateway.adapters.body import BodyLimits
from clawdbot.gateway.domain.buckets import Limit
from clawdbot.gateway.domain.crowd import Crowd
from clawdbot.gateway.domain.rates import Kind, Rates
from clawdbot.gateway.handlers.callers import Callers
from clawdbot.gateway.handlers.doorkeeper import Doorkeeper
from clawdbot.gateway.handlers.messages import Patience
from clawdbot.gateway.handlers.rates import RateScreen
from clawdbot.gateway.ports import RecordingReplies, ScriptedListening
from clawdbot.schema.messages import InboundMessage
from services.gateway.tests.conftest import IDS, Door

FAILURES = 3
FORGED = {"X-Signature": "0" * 64}


class Body:
    """A body that knows whether anybody asked for it."""

    def __init__(self, content: bytes = b"{}") -> None:
        self.was_read = False
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.was_read = True
        yield self._content


@pytest.fixture
def door() -> Door:
    limits = {
        Kind.FAILURE: Limit(per_s=0.01, burst=FAILURES),
        Kind.ADDRESS: Limit(per_s=0.01, burst=8),
        Kind.SENDER: Limit(per_s=0.01, burst=4),
    }
    rates = Rates(limits, 1024)
    callers = Callers(rates, Crowd(Kind.WAITING, 1), IDS)
    return Door(keeper=Doorkeeper(rates, IDS), screens=[RateScreen(rates)], callers=callers)


@pytest.fixture
def client_at(door: Door) -> Callable[[str], httpx.AsyncClient]:
    apps: list[Any] = []

    def client(host: str) -> httpx.AsyncClient:
        # A test may still change the door before its first request.
        app = apps[0] if apps else door.app()
        apps.append(app)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(host, 4711))
        return httpx.AsyncClient(transport=transport, base_url="http://gateway")

    return client


async def forge(client: httpx.AsyncClient, body: Any = b"{}") -> httpx.Response:
    return await client.post("/api/messages", content=body, headers=FORGED)


async def test_who_fails_too_often_is_429_and_their_body_stays_unread(client_at) -> None:
    client, unread = client_at("192.0.2.1"), Body()

    failed = [await forge(client) for _ in range(FAILURES)]
    refused = await forge(client, unread)

    assert [answer.status_code for answer in failed] == [401] * FAILURES
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert refused.headers["content-type"] == "application/problem+json"
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["connection"] == "close"
    assert not unread.was_read


async def test_another_address_goes_on(client_at, payload, sign) -> None:
    for _ in range(2 * FAILURES):
        await forge(client_at("192.0.2.1"))

    body = payload()
    answer = await client_at("192.0.2.2").post(
        "/api/messages", content=body, headers={"X-Signature": sign(body)}
    )

    assert answer.status_code == 202


async def test_failures_behind_a_proxy_do_not_lock_out_who_is_authentic(
    client_at, payload, sign
) -> None:
    client = client_at("192.0.2.1")

    async def authentic(number: int) -> int:
        body = payload(message_id=f"m{number}")
        answer = await client.post(
            "/api/messages", content=body, headers={"X-Signature": sign(body)}
        )
        return answer.status_code

    assert await authentic(1) == 202
    failed = [(await forge(client)).status_code for _ in range(FAILURES + 2)]

    assert failed == [401] * FAILURES + [429] * 2
    assert await authentic(2) == 202


async def test_a_token_is_believed_however_many_others_failed(client_at, bearer) -> None:
    client = client_at("192.0.2.1")
    failed = [
        (await client.post("/api/chat", json={}, headers=bearer(aud="other"))).status_code
        for _ in range(FAILURES + 1)
    ]

    answer = await client.post("/api/chat", json={"content": "hi"}, headers=bearer())

    assert failed == [401] * FAILURES + [429]
    assert answer.status_code == 504


async def test_a_request_without_its_headers_is_refused_as_such_and_counts(client_at) -> None:
    client = client_at("192.0.2.1")
    answers = [
        await client.post("/api/messages", content=Body()),
        await client.get("/api/messages/x"),
        await client.get("/api/messages/x", headers=FORGED),
        await client.get("/api/messages/x"),
    ]

    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
    assert (await client.get("/")).status_code == 200
    assert (await client.get("/nowhere")).status_code == 404
    assert (await client.get("/healthz")).status_code == 200


async def test_who_proves_nothing_counts_whatever_the_answer_is(client_at, door) -> None:
    client = client_at("192.0.2.1")
    answers = [await forge(client, b"x" * (door.limits.max_bytes + 1)) for _ in range(2)]
    answers += [await forge(client), await forge(client)]

    assert [answer.status_code for answer in answers] == [413, 413, 401, 429]


async def test_authentic_requests_count_as_no_failure(client_at, payload, sign) -> None:
    client = client_at("192.0.2.1")
    path = "/api/messages/x"

    answers = [
        await client.get(path, headers={"X-Signature": sign(path.encode())})
        for _ in range(2 * FAILURES)
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert (await forge(client)).status_code == 401


async def test_an_address_has_a_limit_of_authentic_requests_too(client_at, sign) -> None:
    client, path = client_at("192.0.2.1"), "/api/messages/x"
    headers = {"X-Signature": sign(path.encode())}

    statuses = [(await client.get(path, headers=headers)).status_code for _ in range(9)]

    assert statuses == [404] * 8 + [429]
    other = await client_at("192.0.2.2").get(path, headers=headers)
    assert other.status_code == 404


async def test_a_flood_of_one_sender_is_429_and_another_is_heard(client_at, payload, sign) -> None:
    async def send(number: int, sender: str) -> httpx.Response:
        body = payload(message_id=f"m{number}", sender_id=sender)
        client = client_at(f"192.0.2.{number}")
        return await client.post("/api/messages", content=body, headers={"X-Signature": sign(body)})

    flood = [await send(number, "ann") for number in range(6)]
    other = await send(7, "bob")

    assert [answer.status_code for answer in flood] == [202] * 4 + [429] * 2
    assert flood[-1].json()["code"] == "rate_limited"
    assert "sender_per_s" in flood[-1].json()["fix"]
    assert 1 <= int(flood[-1].headers["retry-after"]) <= 100
    assert other.status_code == 202
    assert "ann" not in json.dumps(flood[-1].json())


async def test_one_token_asks_models_at_the_rate_of_a_sender(client_at, bearer) -> None:
    client = client_at("192.0.2.1")

    answers = [await client.get("/v1/models", headers=bearer()) for _ in range(5)]
    other = await client.get("/v1/models", headers=bearer(sub="bob"))

    assert [answer.status_code for answer in answers] == [200] * 4 + [429]
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert other.status_code == 200


class CountingReplies(RecordingReplies):
    """Counts how often somebody began to listen."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def listen(self, message: InboundMessage) -> AbstractAsyncContextManager[ScriptedListening]:
        self.count += 1
        return super().listen(message)


async def test_a_refused_chat_is_sent_away_before_anybody_listens_for_it(
    door, client_at, bearer
) -> None:
    door.replies = CountingReplies()
    door.patience = Patience(chat_s=0.01, tick_s=0.01)
    client = client_at("192.0.2.1")

    answers = [
        await client.post("/api/chat", json={"content": "hi"}, headers=bearer()) for _ in range(6)
    ]

    assert [answer.status_code for answer in answers] == [504] * 4 + [429] * 2
    assert door.replies.count == 4


async def test_bodies_that_never_end_take_no_more_places_than_failures(client_at, door) -> None:
    door.limits = BodyLimits(4096, 30)
    client, never = client_at("192.0.2.1"), asyncio.Event()

    class Endless(Body):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            self.was_read = True
            await never.wait()
            yield b""

    slow = [Endless() for _ in range(FAILURES)]
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(forge(client, body)) for body in slow]
        while not all(body.was_read for body in slow):
            await asyncio.sleep(0)

        assert (await forge(client)).status_code == 429
        never.set()

    assert [task.result().status_code for task in asking] == [401] * FAILURES
