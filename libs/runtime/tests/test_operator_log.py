"""What operators do to dead letters, on a real broker: recorded first, or not done."""

from __future__ import annotations

import asyncio

import nats.errors
import pytest
from nats.js import errors as js_errors

from clawdbot.runtime.bus import Bus
from clawdbot.runtime.deadletters import DeadLetterDesk, DeadLetters
from clawdbot.runtime.kept import Raw
from clawdbot.runtime.operator_log import OperatorLog
from clawdbot.runtime.testing import LocalBus
from clawdbot.schema import streams, subjects
from clawdbot.schema.codec import encode
from clawdbot.schema.deeds import Deed
from clawdbot.schema.errors import NotFound, Unavailable
from clawdbot.schema.ids import Channel, ConversationId, MessageId, Tenant
from clawdbot.schema.messages import OutboundMessage

SUBJECT = "claw.out.webhook.default.c.m.0"


async def buried(bus: Bus, sequence: int = 7) -> None:
    reply = OutboundMessage(
        channel=Channel("webhook"),
        tenant=Tenant("default"),
        conversation_id=ConversationId("c"),
        message_id=MessageId("m"),
        content="a secret of Ann's",
        created_at_ms=0,
    )
    raw = Raw(SUBJECT, sequence, {}, encode(reply), 0)
    await DeadLetters(bus).bury(streams.OUTBOUND, "w", raw, 1, NotFound("gone"))


async def test_a_redriven_and_a_dropped_letter_are_in_the_log_with_who_did_it(
    stack: LocalBus,
) -> None:
    async with stack.bus("assistant") as author, stack.bus("operator") as operator:
        desk = DeadLetterDesk(operator, "ann@laptop")
        await buried(author)
        [(first, _)] = await desk.list()
        sent_as = await desk.redrive(first)
        await buried(author, 8)
        [(second, _)] = await desk.list()
        await desk.drop(second)
        deeds = await OperatorLog(operator).list()
        latest = await OperatorLog(operator).list(1)

    assert [(deed.deed, deed.number, deed.sent_as) for deed in deeds] == [
        (Deed.REDRIVE, first, sent_as),
        (Deed.DROP, second, None),
    ]
    assert {deed.who for deed in deeds} == {"ann@laptop"}
    assert [deed.sequence for deed in deeds] == [7, 8]
    assert {(deed.subject, deed.code) for deed in deeds} == {(SUBJECT, "not_found")}
    assert latest == deeds[1:]
    assert "secret" not in repr(deeds)


@pytest.mark.parametrize("deed", ["redrive", "drop"])
async def test_what_cannot_be_recorded_is_not_done(stack: LocalBus, deed: str) -> None:
    async with (
        stack.bus("assistant") as author,
        stack.bus("operator") as operator,
        stack.bus("provisioner") as provisioner,
    ):
        await buried(author)
        desk = DeadLetterDesk(operator)
        [(number, _)] = await desk.list()
        await provisioner.jetstream.delete_stream(streams.AUDIT.name)

        with pytest.raises(Unavailable):
            await (desk.redrive(number) if deed == "redrive" else desk.drop(number))

        assert len(await desk.list()) == 1
        replies = await operator.jetstream.stream_info(streams.OUTBOUND.name)
        assert replies.state.messages == 0


async def test_the_operator_may_neither_delete_the_log_nor_write_the_executors(
    stack: LocalBus,
) -> None:
    async with stack.bus("assistant") as author, stack.bus("operator") as operator:
        await buried(author)
        desk = DeadLetterDesk(operator)
        [(number, _)] = await desk.list()
        await desk.drop(number)

        for forbidden in (
            operator.jetstream.delete_msg(streams.AUDIT.name, 1),
            operator.jetstream.publish(subjects.audit(Tenant("default"), "x"), b"", timeout=1),
        ):
            with pytest.raises((js_errors.Error, nats.errors.Error, asyncio.TimeoutError)):
                await forbidden

        assert len(await OperatorLog(operator).list()) == 1
