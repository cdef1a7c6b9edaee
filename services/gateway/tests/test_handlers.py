from __future__ import annotations

import dataclasses

import pytest

from clawdbot.gateway.domain.messages import (
    WEBHOOK,
    WEBHOOK_SCOPES,
    Envelope,
    IdReused,
    Submission,
)
from clawdbot.gateway.handlers.messages import Accept, Deliver, Patience
from clawdbot.gateway.ports import RecordingCallback, RecordingInbox
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.delivery import Delivery
from clawdbot.schema.errors import DeadlineExceeded, ErrorReply, Unavailable
from clawdbot.schema.ids import IdKey, Tenant

SUBMISSION = Submission(
    tenant=Tenant("default"),
    channel=WEBHOOK,
    platform="slack",
    sender_id="u1",
    scopes=WEBHOOK_SCOPES,
    content="hello",
    place=("slack", "c1", ""),
    own_id="m1",
    fallback_id="hash",
    timestamp=5,
)


def accept(inbox: RecordingInbox, now: float = 1000.0) -> Accept:
    return Accept(inbox, IdKey(b"0123456789abcdef"), Patience(), now=lambda: now)


async def test_accepting_again_later_is_a_repetition() -> None:
    inbox = RecordingInbox()

    first = await accept(inbox)(SUBMISSION)
    again = await accept(inbox, now=2000.0)(SUBMISSION)

    assert (first.is_new, again.is_new) == (True, False)
    assert again.message == first.message


async def test_an_undated_repetition_is_one_whatever_the_clock_says() -> None:
    inbox = RecordingInbox()
    undated = dataclasses.replace(SUBMISSION, timestamp=None)

    await accept(inbox)(undated)
    again = await accept(inbox, now=2000.0)(undated)

    assert not again.is_new


@pytest.mark.parametrize(
    "change", [{"content": "other"}, {"timestamp": 6}, {"sender_id": "u2"}, {"platform": "line"}]
)
async def test_a_changed_message_under_the_same_id_is_refused(change: dict[str, object]) -> None:
    inbox = RecordingInbox()
    await accept(inbox)(SUBMISSION)

    with pytest.raises(IdReused):
        await accept(inbox)(dataclasses.replace(SUBMISSION, **change))


async def test_a_screen_that_waits_too_long_for_the_broker_asks_to_send_again() -> None:
    async def slow(_: Submission, __: Envelope, *, deadline: Deadline) -> Envelope:
        del deadline
        raise DeadlineExceeded("the bucket senders did not answer in time")

    inbox = RecordingInbox()
    late = Accept(inbox, IdKey(b"0123456789abcdef"), Patience(), screens=[slow])

    with pytest.raises(Unavailable):
        await late(SUBMISSION)
    assert not inbox.kept


def test_ids_depend_on_the_place_and_the_id_alone() -> None:
    make = accept(RecordingInbox()).envelope
    base = make(SUBMISSION).message

    elsewhere = make(dataclasses.replace(SUBMISSION, place=("slack", "c2", ""))).message
    tenant = make(dataclasses.replace(SUBMISSION, tenant=Tenant("other"))).message
    renamed = make(dataclasses.replace(SUBMISSION, content="other", fallback_id="x")).message

    assert len({base.message_id, elsewhere.message_id, tenant.message_id}) == 3
    assert len({base.conversation_id, elsewhere.conversation_id, tenant.conversation_id}) == 3
    assert (renamed.message_id, renamed.conversation_id) == (base.message_id, base.conversation_id)


async def test_a_reply_goes_to_the_callback_and_its_failure_decides(reply_to) -> None:
    reply = reply_to((await accept(RecordingInbox())(SUBMISSION)).message)
    delivery = Delivery(reply, "subject", 1, 1, None, Deadline.after(5))
    callback = RecordingCallback()

    await Deliver(callback).handle(delivery)
    callback.failure = Unavailable("callback down")
    with pytest.raises(Unavailable):
        await Deliver(callback).handle(delivery)
    await Deliver(callback).given_up(delivery, ErrorReply(code="unavailable", message="down"))

    assert callback.delivered == [reply]
