from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import httpx
import pytest

from clawdbot.gateway.adapters.callback import HTTPCallback
from clawdbot.gateway.adapters.signature import WebhookKey
from clawdbot.gateway.adapters.webhook import ReplyAddress
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import (
    ClawdbotError,
    DeadlineExceeded,
    Overloaded,
    Rejected,
    Unavailable,
)
from clawdbot.schema.ids import Channel, ConversationId, MessageId, Tenant
from clawdbot.schema.messages import OutboundMessage

URL = "https://callback.example/replies"
KEY = WebhookKey(b"a shared secret of the webhook")
REPLY = OutboundMessage(
    channel=Channel("webhook"),
    tenant=Tenant("default"),
    conversation_id=ConversationId("conversation"),
    message_id=MessageId("message"),
    content="你好",
    reply_to=ReplyAddress(platform="slack", sender_id="u1", sender_message_id="m1")
    .model_dump_json()
    .encode(),
    created_at_ms=1_700_000_000_500,
)


async def post(answer: Callable[[httpx.Request], httpx.Response]) -> None:
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        callback = HTTPCallback(client, URL, KEY, timeout_s=1)
        await callback.post(REPLY, deadline=Deadline.after(5))


async def test_a_reply_is_posted_signed_with_its_senders_names() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(204)

    await post(answer)

    (request,) = seen
    assert str(request.url) == URL
    assert request.headers["x-signature"] == KEY.sign(request.content)
    assert request.headers["idempotency-key"] == "message.0"
    assert request.headers["traceparent"].startswith("00-")
    assert json.loads(request.content) == {
        "message_id": "message",
        "conversation_id": "conversation",
        "thread_id": None,
        "part": 0,
        "is_final": True,
        "platform": "slack",
        "sender_id": "u1",
        "sender_message_id": "m1",
        "sender_conversation_id": None,
        "content": "你好",
        "kind": "reply",
        "attachments": [],
        "metadata": {"recalled": [], "files_read": []},
        "timestamp": 1_700_000_000,
    }


@pytest.mark.parametrize(
    ("status", "headers", "expected", "wait_s"),
    [
        (408, {}, Unavailable, None),
        (425, {}, Unavailable, None),
        (429, {}, Overloaded, 1.0),
        (429, {"Retry-After": "7"}, Overloaded, 7.0),
        (429, {"Retry-After": "999999"}, Overloaded, 3600.0),
        (429, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, Overloaded, 1.0),
        (429, {"Retry-After": "soon"}, Overloaded, 1.0),
        (500, {}, Unavailable, None),
        (503, {"Retry-After": "3"}, Overloaded, 3.0),
        (301, {"Location": "https://elsewhere.example"}, Rejected, None),
        (400, {}, Rejected, None),
        (404, {}, Rejected, None),
        (410, {}, Rejected, None),
    ],
)
async def test_the_status_decides_whether_it_is_tried_again(
    status: int, headers: dict[str, str], expected: type[ClawdbotError], wait_s: float | None
) -> None:
    with pytest.raises(expected) as error:
        await post(lambda _: httpx.Response(status, headers=headers))

    assert error.value.retry_after_s == wait_s


async def test_no_answer_is_tried_again() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(Unavailable):
        await post(refuse)


async def test_an_answer_that_drips_is_bounded_as_a_whole() -> None:
    async def drip(request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    async with asyncio.timeout(5), httpx.AsyncClient(transport=httpx.MockTransport(drip)) as client:
        callback = HTTPCallback(client, URL, KEY, timeout_s=0.01)
        with pytest.raises(Unavailable):
            await callback.post(REPLY, deadline=Deadline.after(5))


async def test_nothing_is_posted_after_the_deadline() -> None:
    async with httpx.AsyncClient() as client:
        callback = HTTPCallback(client, URL, KEY, timeout_s=1)
        with pytest.raises(DeadlineExceeded):
            await callback.post(REPLY, deadline=Deadline.after(-1))
