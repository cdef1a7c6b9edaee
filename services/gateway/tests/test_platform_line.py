from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.adapters.platforms.line import LINE, REPLY_AGE_S
from clawdbot.gateway.adapters.platforms.requests import RawRequest, Verified
from clawdbot.gateway.adapters.refusals import BadPayload
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import InvalidMessage, Overloaded, Rejected, Unauthenticated
from clawdbot.schema.ids import Channel, ConversationId, MessageId, Tenant
from clawdbot.schema.messages import Attachment, OutboundMessage
from services.gateway.tests.platforms.line import (
    AT_MS,
    GROUP,
    IN_GROUP,
    SAMPLES,
    SECRET,
    TOKEN,
    USER,
    body,
    event,
    request,
    sent,
    signature,
    text,
)
from services.gateway.tests.platforms.samples import NOW, account_of, adapter_of

REPLY = "https://api.line.me/v2/bot/message/reply"
PUSH = "https://api.line.me/v2/bot/message/push"
HEADER = "x-line-signature"
PUBLISHED = b'{"destination":"U8e742f61d673b39c7fff3cecb7536ef0","events":[]}'
TO_USER = {"to": USER, "is_shared": False, "reply_token": "nHuyWiB7yP5Z", "at_ms": AT_MS}


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Any]:
    def received(payload: bytes, **settings: object) -> Any:
        adapter = adapter_of(replace(SAMPLES, settings=settings), tmp_path)
        return adapter.read(adapter.verify(request(payload), NOW)).messages

    return received


class TestSignatures:
    def test_the_published_one_is_authentic(self, tmp_path: Path) -> None:
        offered = b"GhRKmvmHys4Pi8DxkF4+EayaH0OqtJtaZxgTD9fMDLs="
        headers = ((HEADER.encode(), offered),)
        adapter = adapter_of(SAMPLES, tmp_path)

        verified = adapter.verify(RawRequest("POST", "/", (), headers, PUBLISHED), NOW)

        assert adapter.read(verified).messages == ()

    def test_the_vendors_own_validator_agrees(self) -> None:
        webhook = pytest.importorskip("linebot.v3.webhook")
        validator = webhook.SignatureValidator(SECRET.decode())

        signed = signature(SAMPLES.message).decode()

        assert validator.validate(SAMPLES.message.decode(), signed)

    def test_the_old_and_the_new_secret_are_believed_while_they_change(
        self, tmp_path: Path
    ) -> None:
        old = b"the secret that was before this"
        secrets = {**SAMPLES.secrets, "channel_secret": SECRET + b"\n" + old}
        adapter = adapter_of(replace(SAMPLES, secrets=secrets), tmp_path)

        for secret in (old, SECRET):
            adapter.verify(request(PUBLISHED, NOW, secret), NOW)

        with pytest.raises(Unauthenticated):
            adapter.verify(request(PUBLISHED, NOW, b"somebody else's secret"), NOW)

    def test_no_other_body_or_signature_is_ever_accepted(self, tmp_path_factory) -> None:
        adapter = adapter_of(SAMPLES, tmp_path_factory.mktemp("secrets"))
        right = request(SAMPLES.message)

        @given(st.booleans(), st.integers(0), st.integers(1, 255))
        def holds(in_body: bool, at: int, change: int) -> None:
            payload, signed = bytearray(right.body), bytearray(right.headers[0][1])
            changed = payload if in_body else signed
            changed[at % len(changed)] ^= change
            headers = ((HEADER.encode(), bytes(signed)),)

            with pytest.raises(Unauthenticated):
                adapter.verify(RawRequest("POST", "/", (), headers, bytes(payload)), NOW)

        holds()


class TestMessages:
    def test_a_direct_chat_is_one_conversation(self, read) -> None:
        (message,) = read(body(event()))

        assert message.place == (USER, "")
        assert message.timestamp == AT_MS // 1000
        assert not message.in_group
        assert message.holds_token

    def test_every_event_of_a_batch_is_a_message(self, read) -> None:
        first, second = event(), event(webhookEventId="02", message=text("again"))

        said = read(body(first, event(type="follow", message=None), second))

        assert [(one.event_id, one.content) for one in said] == [
            (event()["webhookEventId"], "hello"),
            ("02", "again"),
        ]

    def test_an_event_that_cannot_be_read_does_not_lose_the_others(self, read, caplog) -> None:
        (message,) = read(body(event(timestamp="never"), event(webhookEventId="02")))

        assert message.event_id == "02"
        assert "not understood" in caplog.text

    def test_without_another_one_it_is_an_error(self, read) -> None:
        with pytest.raises(InvalidMessage):
            read(body(event(timestamp="never")))

    def test_a_group_answers_who_mentions_us(self, read) -> None:
        mention = {"mentionees": [{"index": 0, "length": 7, "type": "user", "isSelf": True}]}

        (message,) = read(body(event(source=IN_GROUP, message=text("@Claw🦞 hi", mention=mention))))

        assert (message.content, message.sender_id) == ("hi", USER)
        assert message.place == (GROUP, "")
        assert message.in_group

    def test_a_control_word_needs_no_mention(self, read) -> None:
        (message,) = read(body(event(source=IN_GROUP, message=text("/approve K7Q2M9XW4T"))))

        assert message.content == "/approve K7Q2M9XW4T"

    def test_a_group_can_be_answered_always(self, read) -> None:
        (message,) = read(body(event(source=IN_GROUP)), group_replies="all")

        assert message.content == "hello"

    @pytest.mark.parametrize(
        ("said", "expected"),
        [
            (
                {"type": "image", "contentProvider": {"type": "line"}},
                Attachment(type="image", url="line:7", media_type="image/jpeg"),
            ),
            (
                {
                    "type": "video",
                    "contentProvider": {
                        "type": "external",
                        "originalContentUrl": "https://example.com/v.mp4",
                    },
                },
                Attachment(type="video", url="https://example.com/v.mp4", media_type="video/mp4"),
            ),
            (
                {"type": "file", "fileName": "a.txt", "fileSize": 2138},
                Attachment(type="file", url="line:7", name="a.txt"),
            ),
        ],
    )
    def test_files_go_on(self, read, said: dict[str, object], expected: Attachment) -> None:
        (message,) = read(body(event(message={"id": "7", **said})))

        assert (message.content, message.attachments) == ("", (expected,))

    def test_whatever_is_signed_raises_nothing_else(self, tmp_path_factory) -> None:
        adapter = adapter_of(SAMPLES, tmp_path_factory.mktemp("secrets"))
        leaves = st.none() | st.booleans() | st.integers() | st.text()
        names = st.sampled_from([*event(), "mention", "mentionees", "userId", "text", "id"])
        values = st.recursive(
            leaves, lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=12
        )

        @given(st.dictionaries(names, values))
        def holds(changes: dict[str, object]) -> None:
            payload = body(event(**changes), changes)
            try:
                adapter.read(Verified(request(payload), payload))
            except (BadPayload, InvalidMessage):
                return

        holds()


class Api:
    """LINE as far as sending goes: a token works once, a retry key too."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self._used: set[str] = set()
        self.answer: Callable[[httpx.Request], httpx.Response] = sent

    def __call__(self, asked: httpx.Request) -> httpx.Response:
        self.requests.append(asked)
        told = json.loads(asked.content)
        for message in told["messages"]:
            assert 0 < len(message["text"].encode("utf-16-le")) // 2 <= 5000
        key = told.get("replyToken") or str(uuid.UUID(asked.headers["X-Line-Retry-Key"]))
        if key in self._used:
            is_reply = "replyToken" in told
            status, words = (400, "Invalid reply token") if is_reply else (409, "conflict")
            return httpx.Response(status, json={"message": words})
        answer = self.answer(asked)
        if answer.is_success:
            self._used.add(key)
        return answer

    @property
    def urls(self) -> list[str]:
        return [str(one.url) for one in self.requests]


@pytest.fixture
def api() -> Api:
    return Api()


@pytest_asyncio.fixture
async def line(api: Api, tmp_path: Path) -> AsyncIterator[LINE]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(api)) as client:
        yield LINE(account_of(SAMPLES, tmp_path), client, now=lambda: NOW)


def part(said: str = "hi", index: int = 0, count: int = 1, key: str = "key") -> ReplyPart:
    reply = OutboundMessage(
        channel=Channel("line"),
        tenant=Tenant("default"),
        conversation_id=ConversationId("c"),
        message_id=MessageId("m"),
        content=said,
        created_at_ms=1,
    )
    return ReplyPart(reply, said, index, count, key)


async def send(line: LINE, what: ReplyPart, **address: object) -> str | None:
    return await line.send(what, {**TO_USER, **address}, deadline=Deadline.after(5))


class TestSending:
    async def test_a_young_token_is_used_first(self, line: LINE, api: Api) -> None:
        sent_id = await send(line, part())

        told = json.loads(api.requests[0].content)
        assert (sent_id, api.urls) == ("461230966842064897", [REPLY])
        assert told["replyToken"] == TO_USER["reply_token"]
        assert api.requests[0].headers["authorization"] == f"Bearer {TOKEN.decode()}"
        assert not line.traits(part(), TO_USER).shows_once

    async def test_an_old_token_is_left_alone(self, line: LINE, api: Api) -> None:
        address = {**TO_USER, "at_ms": int((NOW - REPLY_AGE_S) * 1000)}

        await line.send(part(), address, deadline=Deadline.after(5))

        assert api.urls == [PUSH]
        assert line.traits(part(), address).shows_once

    async def test_later_parts_are_pushed_under_keys_of_their_own(
        self, line: LINE, api: Api
    ) -> None:
        for index in range(3):
            await send(line, part(index=index, count=3, key=f"key{index}"))

        assert api.urls == [REPLY, PUSH, PUSH]
        keys = {one.headers["X-Line-Retry-Key"] for one in api.requests[1:]}
        assert len(keys) == 2

    async def test_a_spent_token_is_followed_by_a_push(self, line: LINE, api: Api) -> None:
        await send(line, part())

        await send(line, part(key="of another reply"))

        assert api.urls == [REPLY, REPLY, PUSH]

    async def test_a_push_that_line_has_already_is_done(self, line: LINE, api: Api) -> None:
        first = await send(line, part(), reply_token="")
        again = await send(line, part(), reply_token="")

        assert (first, again) == ("461230966842064897", None)
        assert api.urls == [PUSH, PUSH]

    async def test_the_months_end_is_final_and_a_rush_is_not(self, line: LINE, api: Api) -> None:
        words = {"message": "You have reached your monthly limit."}
        api.answer = lambda _: httpx.Response(429, json=words)
        with pytest.raises(Rejected, match="this month"):
            await send(line, part())

        rush = {"message": "The API rate limit has been exceeded. Try again later."}
        api.answer = lambda _: httpx.Response(429, json=rush)
        with pytest.raises(Overloaded):
            await send(line, part())

    async def test_a_refused_token_says_what_to_do(self, line: LINE, api: Api) -> None:
        api.answer = lambda _: httpx.Response(401, json={"message": "Authentication failed"})

        with pytest.raises(Rejected) as error:
            await send(line, part())

        assert error.value.fix == "issue a new channel_access_token"

    async def test_a_group_shows_no_typing(self, line: LINE, api: Api) -> None:
        address = {**TO_USER, "is_shared": True}

        await line.show_typing(address, deadline=Deadline.after(5))

        assert api.requests == []

    async def test_files_are_on_the_host_for_data(self, line: LINE) -> None:
        async def located(url: str) -> Any:
            attachment = Attachment(type="image", url=url)
            return await line.locate(attachment, TO_USER, deadline=Deadline.after(5))

        ours, theirs = await located("line:7"), await located("https://example.com/v.mp4")

        assert ours.url == "https://api-data.line.me/v2/bot/message/7/content"
        assert ours.headers["Authorization"] == f"Bearer {TOKEN.decode()}"
        assert (theirs.url, theirs.headers) == ("https://example.com/v.mp4", {})
