"""What the core does around an adapter that does as little as it may."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from clawdbot.gateway.adapters.platforms.connections import Connection
from clawdbot.gateway.adapters.platforms.intake import PLACES
from clawdbot.gateway.adapters.platforms.interface import (
    Account,
    AccountSettings,
    Address,
    Capabilities,
    Limits,
    PlatformMessage,
    Received,
)
from clawdbot.gateway.adapters.platforms.requests import (
    HTTPAnswer,
    RawRequest,
    Verified,
    refused,
)
from clawdbot.gateway.adapters.refusals import BadPayload
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.gateway.domain.splitting import TextLimit
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.ids import Channel, Tenant
from clawdbot.schema.messages import Attachment, InboundMessage
from services.gateway.tests.platforms.samples import PUBLIC_URL

KEY = {"X-Key": "let me in"}


class Parrot:
    """Believes a header; each object in the body's list is a message."""

    methods = frozenset({"GET", "POST"})
    limits = Limits(TextLimit(2000), body_bytes=4096)
    capabilities = Capabilities()
    unreadable: HTTPAnswer | None = HTTPAnswer.of_json({"ok": True})

    def __init__(self) -> None:
        self.on_failure: HTTPAnswer | None = None
        self.seen: list[RawRequest] = []

    def admit(self, request: RawRequest) -> None:
        if request.header("x-key") != b"let me in":
            raise refused()

    def verify(self, request: RawRequest, now: float) -> Verified:
        self.seen.append(request)
        return Verified(request, request.body)

    def read(self, verified: Verified) -> Received:
        if verified.request.method == "GET":
            challenge = verified.request.parameter("challenge")
            return Received(answer=HTTPAnswer(body=challenge.encode()))
        try:
            told = json.loads(verified.payload)
        except ValueError:
            raise BadPayload("not JSON") from None
        messages = tuple(
            PlatformMessage(
                event_id=one["id"],
                sender_id=one.get("from", "u1"),
                content=one["text"],
                place=("room",),
                address={"url": "https://hooks.example/token"},
                attachments=tuple(Attachment(**file) for file in one.get("files", ())),
                holds_token=one.get("secret", False),
            )
            for one in told
        )
        return Received(messages, HTTPAnswer(204), self.on_failure)

    async def send(self, part: ReplyPart, address: Address, *, deadline: Deadline) -> str | None:
        raise NotImplementedError


def connection(adapter: Parrot, name: str = "default") -> Connection:
    channel = "parrot" if name == "default" else f"parrot-{name}"
    tenant = Tenant(f"tenant-{name}")
    account = Account("parrot", name, tenant, Channel(channel), "", AccountSettings(), {})
    return Connection(account, adapter)


@pytest.fixture
def parrot(door) -> Parrot:
    adapter = Parrot()
    door.connections += [connection(adapter), connection(adapter, "second")]
    return adapter


@pytest_asyncio.fixture
async def client(door, parrot) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(door.app(), raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://gateway", headers=KEY
    ) as client:
        yield client


def batch(*texts: str, **fields: object) -> str:
    return json.dumps([{"id": f"e{i}", "text": text, **fields} for i, text in enumerate(texts)])


def kept(door) -> list[InboundMessage]:
    return list(door.inbox.kept.values())


@pytest.mark.parametrize(
    "path", ["/webhooks", "/webhooks/", "/webhooks/other", "/webhooks/parrot/x", "/webhooks/p/d/x"]
)
async def test_an_account_that_is_not_there_is_404(client, path: str) -> None:
    answer = await client.post(path, content=batch("hi"))

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_each_account_has_its_own_tenant_and_channel(door, client) -> None:
    for path in ("/webhooks/parrot", "/webhooks/parrot/default", "/webhooks/parrot/second"):
        assert (await client.post(path, content=batch("hi"))).status_code == 204

    assert [(message.tenant, message.channel) for message in kept(door)] == [
        ("tenant-default", "parrot"),
        ("tenant-second", "parrot-second"),
    ]


async def test_a_batch_is_kept_in_order_each_message_once(door, client) -> None:
    await client.post("/webhooks/parrot", content=batch("one"))
    answer = await client.post("/webhooks/parrot", content=batch("one", "two", "three"))

    assert answer.status_code == 204
    assert [message.content for message in kept(door)] == ["one", "two", "three"]


async def test_one_bad_message_does_not_lose_the_batch(door, client) -> None:
    body = json.dumps([{"id": "", "text": "bad"}, {"id": "e1", "text": "good"}])

    assert (await client.post("/webhooks/parrot", content=body)).status_code == 204
    assert [message.content for message in kept(door)] == ["good"]


async def test_without_the_brokers_word_the_platform_has_to_try_again(door, parrot, client) -> None:
    door.inbox.failure = Unavailable("the broker is not reachable")
    answer = await client.post("/webhooks/parrot", content=batch("hi"))

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


async def test_a_platform_that_never_tries_again_is_told_so_in_its_own_words(
    door, parrot, client
) -> None:
    parrot.on_failure = HTTPAnswer.of_json({"content": "try again"})
    door.inbox.failure = Unavailable("the broker is not reachable")
    answer = await client.post("/webhooks/parrot", content=batch("hi"))

    assert (answer.status_code, answer.json()) == (200, {"content": "try again"})


async def test_the_first_message_of_an_id_wins(door, client) -> None:
    await client.post("/webhooks/parrot", content=batch("first"))
    answer = await client.post("/webhooks/parrot", content=batch("second"))

    assert answer.status_code == 204
    assert [message.content for message in kept(door)] == ["first"]


async def test_an_address_with_a_token_is_kept_unreadable_and_its_repetition_known(
    door, client
) -> None:
    answers = [
        await client.post("/webhooks/parrot", content=batch("hi", secret=True)) for _ in range(2)
    ]

    (message,) = kept(door)
    assert [answer.status_code for answer in answers] == [204, 204]
    assert b"token" not in message.reply_to


async def test_an_address_without_a_token_is_kept_as_it_is(door, client) -> None:
    await client.post("/webhooks/parrot", content=batch("hi"))

    assert b"https://hooks.example/token" in kept(door)[0].reply_to


async def test_what_cannot_be_read_is_acknowledged(door, client) -> None:
    answers = [
        await client.post("/webhooks/parrot", content=body) for body in ("nonsense", batch(""))
    ]

    assert [answer.json() for answer in answers] == [{"ok": True}] * 2
    assert not door.inbox.kept


@pytest.mark.parametrize("file", [{"type": "x" * 65, "url": "x"}, {"type": "", "url": "x"}])
async def test_a_file_that_no_message_can_carry_is_acknowledged(door, client, file) -> None:
    answer = await client.post("/webhooks/parrot", content=batch("hi", files=[file]))

    assert answer.json() == {"ok": True}
    assert not door.inbox.kept


async def test_a_file_is_kept_without_nul(door, client) -> None:
    file = {"type": "image", "url": "https://files.example/\x00", "name": "a\x00"}
    await client.post("/webhooks/parrot", content=batch("hi", files=[file]))

    (kept_file,) = kept(door)[0].attachments
    assert "\x00" not in f"{kept_file.url}{kept_file.name}"


async def test_what_nobody_signed_is_not_logged_as_loudly_as_the_rest(client, caplog) -> None:
    caplog.set_level("DEBUG", "clawdbot.gateway")
    await client.post("/webhooks/parrot", content=batch("hi"), headers={"X-Key": "wrong"})
    await client.post("/webhooks/parrot", content="x" * 5000)

    levels = [record.levelname for record in caplog.records if record.msg == "request refused"]
    assert levels == ["DEBUG", "INFO"]


async def test_a_platform_may_ask_by_get_and_is_answered_exactly(client) -> None:
    answer = await client.get("/webhooks/parrot?challenge=a%2Bb&mode=subscribe")

    assert (answer.content, answer.headers["content-type"]) == (b"a+b", "text/plain; charset=utf-8")


async def test_a_parameter_twice_is_401(client) -> None:
    answer = await client.get("/webhooks/parrot?challenge=a&challenge=b")

    assert answer.status_code == 401


async def test_the_url_is_the_configured_one_whatever_host_says(parrot, client) -> None:
    headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example"}
    await client.post("/webhooks/parrot?a=1", content=batch("hi"), headers=headers)

    assert parrot.seen[0].url == f"{PUBLIC_URL}/webhooks/parrot?a=1"


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"X-Key": "wrong"}, "x" * 5000, 401),
        ({"Content-Encoding": "gzip"}, "x", 415),
        ({}, "x" * 5000, 413),
    ],
)
async def test_headers_come_before_encoding_and_length(
    client, headers: dict[str, str], body: str, status: int
) -> None:
    answer = await client.post("/webhooks/parrot", content=body, headers=headers)

    assert answer.status_code == status


async def test_another_method_is_405_and_says_which_are_allowed(client) -> None:
    answer = await client.put("/webhooks/parrot", content=batch("hi"))

    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")


async def test_numbers_of_parameters_are_bounded(client) -> None:
    answer = await client.get("/webhooks/parrot?" + "&".join(["a=1"] * 100))

    assert answer.status_code == 400


async def test_bodies_that_never_end_do_not_keep_the_platform_out(client) -> None:
    reading = asyncio.Semaphore(0)

    async def never() -> AsyncIterator[bytes]:
        reading.release()
        await asyncio.Event().wait()
        yield b""

    stalled = [
        asyncio.create_task(client.post("/webhooks/parrot", content=never())) for _ in range(PLACES)
    ]
    for _ in stalled:
        await reading.acquire()
    answer = await client.post("/webhooks/parrot", content=batch("hi"))
    oldest = await stalled[0]

    assert (answer.status_code, oldest.status_code) == (204, 408)
    assert not any(task.done() for task in stalled[1:])
    for task in stalled:
        task.cancel()
    await asyncio.gather(*stalled, return_exceptions=True)


async def test_more_than_is_kept_at_a_time_is_429_with_a_wait(door, client) -> None:
    keeping, may_go_on, keep = asyncio.Semaphore(0), asyncio.Event(), door.inbox.keep

    async def slow(*given: object, **more: object) -> object:
        keeping.release()
        await may_go_on.wait()
        return await keep(*given, **more)

    door.inbox.keep = slow
    kept_later = [
        asyncio.create_task(client.post("/webhooks/parrot", content=batch("hi")))
        for _ in range(PLACES)
    ]
    for _ in kept_later:
        await keeping.acquire()
    answer = await client.post("/webhooks/parrot", content=batch("hi"))
    may_go_on.set()

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert {(await later).status_code for later in kept_later} == {204}
