from __future__ import annotations

import dataclasses

import httpx
import pytest

from clawdbot.gateway.adapters.platforms.addresses import SealedAddresses, packed
from clawdbot.gateway.adapters.platforms.api import (
    MAX_ANSWER_BYTES,
    APIAnswer,
    APIRequest,
    PlatformAPI,
)
from clawdbot.gateway.adapters.recording import InMemoryDeliveryRecords, RecordingSender
from clawdbot.gateway.domain.splitting import TextLimit
from clawdbot.gateway.handlers.platforms import DeliverParts
from clawdbot.gateway.handlers.reply_progress import ReplyRecords
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.delivery import Delivery
from clawdbot.schema.errors import (
    ClawdbotError,
    DeadlineExceeded,
    InvalidMessage,
    Overloaded,
    Rejected,
    Unavailable,
)
from clawdbot.schema.ids import Channel, ConversationId, MessageId, Tenant
from clawdbot.schema.messages import Attachment, OutboundMessage

LONG = " ".join(["word"] * 90)
ADDRESSES = SealedAddresses(b"k" * 32)


def delivery_of(content: str = LONG, **fields: object) -> Delivery[OutboundMessage]:
    given = {
        "channel": Channel("slack"),
        "tenant": Tenant("default"),
        "conversation_id": ConversationId("conversation"),
        "message_id": MessageId("message"),
        "content": content,
        "created_at_ms": 0,
        **fields,
    }
    message = OutboundMessage.model_validate(given)
    subject = "claw.out.slack.default.conversation.message.0"
    return Delivery(message, subject, 1, 1, None, Deadline.after(5))


def deliverer(sender: RecordingSender) -> DeliverParts:
    return DeliverParts(sender, TextLimit(128), ReplyRecords(InMemoryDeliveryRecords(), "a"))


async def test_a_long_reply_goes_out_in_parts_each_under_its_own_key() -> None:
    sender = RecordingSender()

    await deliverer(sender).handle(delivery_of())

    assert [part.index for part in sender.sent] == list(range(4))
    assert [part.is_last for part in sender.sent] == [False, False, False, True]
    assert len({part.idempotency_key for part in sender.sent}) == 4
    assert " ".join(part.text for part in sender.sent) == LONG


async def test_a_retry_goes_on_with_the_part_that_failed() -> None:
    sender = RecordingSender()
    sender.failures = [None, None, Unavailable("the platform is away")]
    deliver = deliverer(sender)

    with pytest.raises(Unavailable):
        await deliver.handle(delivery_of())
    await deliver.handle(delivery_of())

    assert [part.index for part in sender.sent] == [0, 1, 2, 3]


async def test_a_reply_that_the_broker_delivers_again_is_not_sent_again() -> None:
    sender = RecordingSender()
    deliver = deliverer(sender)

    await deliver.handle(delivery_of())
    await deliver.handle(delivery_of())

    assert [part.index for part in sender.sent] == [0, 1, 2, 3]


async def test_the_pace_of_a_platform_slows_a_reply_down_and_fails_it_not() -> None:
    sender = RecordingSender()
    busy = Overloaded("one a second", retry_after_s=0.01)
    sender.failures = [None, busy, busy, None, busy]

    await deliverer(sender).handle(delivery_of())

    assert [part.index for part in sender.sent] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("failures", "left_s"),
    [
        ([Overloaded("busy", retry_after_s=0.01)], 5.0),
        ([None, Overloaded("busy", retry_after_s=15.1)], 60.0),
        ([None, Overloaded("busy", retry_after_s=10)], 5.0),
    ],
)
async def test_a_wait_at_the_start_or_a_long_one_is_the_consumers(
    failures: list[ClawdbotError | None], left_s: float
) -> None:
    sender = RecordingSender()
    sender.failures = failures
    delivery = dataclasses.replace(delivery_of(), deadline=Deadline.after(left_s))

    with pytest.raises(Overloaded):
        await deliverer(sender).handle(delivery)


async def test_another_process_begins_again_under_the_same_keys() -> None:
    first, second = RecordingSender(), RecordingSender()
    first.failures = [None, Unavailable("the platform is away")]

    with pytest.raises(Unavailable):
        await deliverer(first).handle(delivery_of())
    await deliverer(second).handle(delivery_of())

    assert first.sent[0].idempotency_key == second.sent[0].idempotency_key


async def test_a_reply_of_files_alone_is_one_part() -> None:
    sender = RecordingSender()
    files = (Attachment(type="file", url="https://files.example/1"),)

    await deliverer(sender).handle(delivery_of("", attachments=files))

    assert [(part.text, part.is_last) for part in sender.sent] == [("", True)]


def test_a_sealed_address_opens_for_its_conversation_alone() -> None:
    plain = packed({"token": "xoxb-very-secret"})
    sealed = ADDRESSES.close(plain, Channel("slack"), ConversationId("conversation"))

    opened = ADDRESSES.open(delivery_of(reply_to=sealed, message_id="sent-anew").message)

    assert opened == {"token": "xoxb-very-secret"}
    assert b"secret" not in sealed
    for wrong in (
        delivery_of(reply_to=sealed, conversation_id="another"),
        delivery_of(reply_to=sealed, channel="slack-other"),
        delivery_of(reply_to=sealed[:-1]),
        delivery_of(reply_to=sealed[:5]),
    ):
        with pytest.raises(Rejected):
            ADDRESSES.open(wrong.message)


@pytest.mark.parametrize("reply_to", [None, b"", b"\x00", b"\x00\xc1", b"\x00\x01", b"\x07abc"])
def test_an_address_that_is_none_is_refused_for_good(reply_to: bytes | None) -> None:
    with pytest.raises(Rejected):
        ADDRESSES.open(delivery_of(reply_to=reply_to).message)


@pytest.mark.parametrize("value", ["x" * 10_000, "\ud800", 2**64, {1}])
def test_an_address_that_cannot_travel_is_refused(value: object) -> None:
    with pytest.raises(InvalidMessage):
        packed({"url": value})


def test_a_short_key_seals_nothing() -> None:
    with pytest.raises(ValueError, match="shorter"):
        SealedAddresses(b"k" * 31)


def _in_body(answer: APIAnswer) -> ClawdbotError | None:
    if answer.data.get("ok", True):
        return None
    return Overloaded("slack asks to wait", retry_after_s=3.0)


async def called(answer: httpx.Response, *, left_s: float = 5) -> APIAnswer:
    transport = httpx.MockTransport(lambda _: answer)
    async with httpx.AsyncClient(transport=transport) as client:
        api = PlatformAPI(client, "slack", "https://slack.example/", _in_body)
        request = APIRequest.of_json("/bot-token-in-path", {"text": "hi"})
        return await api.call(request, deadline=Deadline.after(left_s))


async def test_the_answers_object_is_read() -> None:
    answer = await called(httpx.Response(200, json={"ok": True, "ts": "1"}))

    assert (answer.status, answer.data["ts"]) == (200, "1")


async def test_an_error_in_the_body_comes_before_the_status() -> None:
    with pytest.raises(Overloaded) as error:
        await called(httpx.Response(200, json={"ok": False}))

    assert error.value.retry_after_s == 3.0


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"<html>", b"\xff", b"[" * 100_000, b" " * (MAX_ANSWER_BYTES + 1)]
)
async def test_an_answer_that_is_no_object_is_an_empty_one(content: bytes) -> None:
    answer = await called(httpx.Response(200, content=content))

    assert answer.data == {}


async def test_nothing_is_asked_after_the_deadline() -> None:
    with pytest.raises(DeadlineExceeded):
        await called(httpx.Response(200), left_s=-1)


async def test_no_compressed_answer_is_asked_for() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        api = PlatformAPI(client, "slack", "https://slack.example")
        await api.call(APIRequest("POST", "/"), deadline=Deadline.after(5))

    assert seen[0].headers["accept-encoding"] == "identity"


async def test_an_error_does_not_name_the_address() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError(f"refused {request.url}", request=request)

    async with httpx.AsyncClient(transport=httpx.MockTransport(refuse)) as client:
        api = PlatformAPI(client, "slack", "https://slack.example")
        with pytest.raises(Unavailable) as error:
            await api.call(APIRequest("POST", "/token"), deadline=Deadline.after(5))

    assert error.value.message == "slack is not reachable: ConnectError"
    assert error.value.__cause__ is None
    assert error.value.__context__ is None
