from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.adapters.platforms.requests import RawRequest
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.runtime.config import ConfigError
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import InvalidMessage, Rejected, Unauthenticated
from clawdbot.schema.ids import Channel, ConversationId, MessageId, Tenant
from clawdbot.schema.messages import OutboundMessage
from services.gateway.tests.platforms.samples import NOW, Samples, adapter_of
from services.gateway.tests.platforms.standard_webhooks import (
    EVENT_ID,
    SAMPLES,
    SECRET,
    payload,
    request,
)

OTHER = "whsec_" + base64.b64encode(b"another key of 24 bytes!").decode()
PUBLISHED = RawRequest(
    method="POST",
    url="/",
    headers=(
        (b"webhook-id", b"msg_p5jXN8AQM9LWM0D4loKWxJek"),
        (b"webhook-timestamp", b"1614265330"),
        (b"webhook-signature", b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ),
    body=b'{"test": 2432232314}',
)


def with_secret(secret: str) -> Samples:
    return Samples(**{**vars(SAMPLES), "secrets": {"secret": secret.encode()}})


def signed(signature: bytes) -> RawRequest:
    headers = (*PUBLISHED.headers[:2], (b"webhook-signature", signature))
    return RawRequest("POST", "/", headers=headers, body=PUBLISHED.body)


def test_the_published_vector_is_authentic(tmp_path: Path) -> None:
    verified = adapter_of(SAMPLES, tmp_path).verify(PUBLISHED, 1614265330)

    assert verified.payload == PUBLISHED.body


def test_any_signature_of_the_list_and_any_of_our_keys_will_do(tmp_path: Path) -> None:
    right = PUBLISHED.headers[2][1]
    wrong = b"v1," + base64.b64encode(b"0" * 32)
    adapter = adapter_of(with_secret(f"{OTHER}\n{SECRET}"), tmp_path)

    for signature in (b"v1a,aaaa " + wrong + b" " + right, right + b" " + wrong):
        adapter.verify(signed(signature), 1614265330)


@pytest.mark.parametrize(
    "signature",
    [
        b"v1,",
        b"v1,!!!!",
        b"v1a,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        b"g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OA=",
    ],
)
def test_nothing_but_a_right_v1_signature_will_do(tmp_path: Path, signature: bytes) -> None:
    with pytest.raises(Unauthenticated):
        adapter_of(SAMPLES, tmp_path).verify(signed(signature), 1614265330)


@pytest.mark.parametrize(
    "stamp", [b"+614265330", b"1614265330.0", b" 161426533", b"nan", b"16142653300"]
)
def test_a_time_that_is_not_ten_digits_is_refused(tmp_path: Path, stamp: bytes) -> None:
    headers = (PUBLISHED.headers[0], (b"webhook-timestamp", stamp), PUBLISHED.headers[2])

    with pytest.raises(Unauthenticated):
        adapter_of(SAMPLES, tmp_path).verify(RawRequest("POST", "/", headers=headers), 1614265330)


@pytest.mark.parametrize("secret", ["whsec_no base64 at all!", "whsec_c2hvcnQ=" + "=" * 10])
def test_a_secret_that_is_no_key_is_refused_at_start(tmp_path: Path, secret: str) -> None:
    with pytest.raises((ValueError, ConfigError), match="secret"):
        adapter_of(with_secret(secret), tmp_path)


def test_a_message_carries_its_ids_thread_and_files(tmp_path: Path) -> None:
    files = [{"type": "image", "url": "https://files.example/1.png"}]
    body = payload(conversation_id="room", thread_id="t1", attachments=files)
    adapter = adapter_of(SAMPLES, tmp_path)

    (message,) = adapter.read(adapter.verify(request(body, NOW), NOW)).messages

    assert (message.event_id, message.place) == (EVENT_ID, ("in", "room", "t1"))
    assert (message.timestamp, message.thread_id) == (1_700_000_000, "t1")
    assert [file.url for file in message.attachments] == ["https://files.example/1.png"]
    assert not message.holds_token


@pytest.mark.parametrize(
    "body",
    [
        payload(sender_id=7),
        payload(sender_id=""),
        payload(content=" "),
        payload().replace(b"Z", b""),
        payload().replace(b"2023-11-14T22:13:20Z", b"yesterday"),
        payload().replace(b"2023-", b"1823-"),
    ],
)
def test_a_wrong_field_is_refused(tmp_path: Path, body: bytes) -> None:
    adapter = adapter_of(SAMPLES, tmp_path)

    with pytest.raises(InvalidMessage):
        adapter.read(adapter.verify(request(body, NOW), NOW))


def reply() -> ReplyPart:
    message = OutboundMessage(
        channel=Channel("standard_webhooks"),
        tenant=Tenant("default"),
        conversation_id=ConversationId("conversation"),
        message_id=MessageId("message"),
        content="\u4f60\u597d",
        created_at_ms=1_700_000_000_500,
    )
    return ReplyPart(message, message.content, 0, 1, "thekeyofthispart")


async def sent(tmp_path: Path, status: int = 204) -> httpx.Request:
    seen: list[httpx.Request] = []

    def answer(outgoing: httpx.Request) -> httpx.Response:
        seen.append(outgoing)
        return httpx.Response(status)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        adapter = adapter_of(SAMPLES, tmp_path, client)
        address = {"in_reply_to": EVENT_ID, "sender_id": "u1", "conversation_id": None}
        await adapter.send(reply(), address, deadline=Deadline.after(5))
    return seen[0]


async def test_a_reply_is_posted_under_its_idempotency_key(tmp_path: Path) -> None:
    request = await sent(tmp_path)

    assert str(request.url) == "https://receiver.example/replies"
    assert request.headers["webhook-id"] == "thekeyofthispart"
    told = json.loads(request.content)
    assert (told["type"], told["timestamp"]) == (
        "message.replied",
        "2023-11-14T22:13:20.500+00:00",
    )
    assert (told["data"]["in_reply_to"], told["data"]["content"]) == (EVENT_ID, "\u4f60\u597d")


async def test_a_receiver_that_is_gone_is_not_asked_again(tmp_path: Path) -> None:
    with pytest.raises(Rejected):
        await sent(tmp_path, status=410)


def test_without_a_callback_replies_are_only_stored(tmp_path: Path) -> None:
    adapter = adapter_of(Samples(**{**vars(SAMPLES), "settings": {}}), tmp_path)

    assert not adapter.capabilities.replies


class TestAgainstTheOfficialLibrary:
    """The published reference implementation, both ways."""

    @pytest.fixture
    def official(self):
        return pytest.importorskip("standardwebhooks").Webhook(SECRET)

    async def test_it_believes_our_replies(self, official, tmp_path: Path) -> None:
        request = await sent(tmp_path)

        told = official.verify(request.content, dict(request.headers))

        assert told["type"] == "message.replied"

    def test_we_believe_what_it_signs(self, official, tmp_path_factory) -> None:
        adapter = adapter_of(SAMPLES, tmp_path_factory.mktemp("secrets"))
        at = int(time.time())

        @given(st.text(max_size=50), st.from_regex(r"[A-Za-z0-9_.-]{1,40}", fullmatch=True))
        def holds(body: str, event_id: str) -> None:
            signature = official.sign(event_id, datetime.fromtimestamp(at, UTC), body)
            headers = (
                (b"webhook-id", event_id.encode()),
                (b"webhook-timestamp", str(at).encode()),
                (b"webhook-signature", signature.encode()),
            )
            raw = RawRequest("POST", "/", headers=headers, body=body.encode())

            assert adapter.verify(raw, at).payload == body.encode()

        holds()
