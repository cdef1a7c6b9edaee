"""Stored messages: once, confirmed, readable; and what happens while the broker is away."""

from __future__ import annotations

import asyncio

import pytest

from clawdbot.runtime.bus import Bus
from clawdbot.runtime.connection import connected
from clawdbot.runtime.testing import LocalBus
from clawdbot.schema import streams, subjects
from clawdbot.schema.codec import MAX_PAYLOAD_BYTES, encode
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import DeadlineExceeded, Overloaded, Unavailable
from clawdbot.schema.ids import ConversationId, MessageId, Tenant
from clawdbot.schema.messages import Delta, Signal, SignalKind

CONVERSATION = ConversationId("c")
HERE = subjects.inbound(Tenant("t"), CONVERSATION, MessageId("m"))
DELTA = Delta(message_id=MessageId("m"), index=0, text="hello")


async def store(bus: Bus, text: str = "hello", subject: str = HERE) -> bool:
    delta = DELTA.model_copy(update={"text": text})
    stored = await bus.store_once(subject, delta, deadline=Deadline.after(2))
    return stored.is_new


async def test_a_subject_takes_its_first_message_only(stack: LocalBus) -> None:
    async with stack.bus("gateway") as bus:
        results = [await store(bus, str(number)) for number in range(5)]
        kept = await bus.read_last(streams.INBOUND, HERE, Delta, deadline=Deadline.after(2))

    assert results == [True, False, False, False, False]
    assert kept is not None
    assert kept.message.text == "0"


async def test_a_copy_is_refused_after_the_broker_was_killed(stack: LocalBus) -> None:
    async with stack.bus("gateway") as bus:
        assert await store(bus)
        await stack.broker.kill()
        await stack.broker.start()
        await reconnected(bus)

        assert not await store(bus)


async def test_copies_at_the_same_time_store_one(stack: LocalBus) -> None:
    async with stack.bus("gateway") as bus:
        results = await asyncio.gather(*(store(bus, str(number)) for number in range(20)))

    assert results.count(True) == 1


async def test_a_missing_broker_is_said_at_once_and_recovered_from(stack: LocalBus) -> None:
    async with stack.bus("gateway") as bus:
        await stack.broker.kill()
        await disconnected(bus)

        with pytest.raises(Unavailable):
            async with asyncio.timeout(0.5):
                await store(bus)

        await stack.broker.start()
        await reconnected(bus)
        assert await store(bus)


async def test_what_is_not_there_is_none(stack: LocalBus) -> None:
    async with stack.bus("gateway") as bus:
        assert await bus.read_last(streams.INBOUND, HERE, Delta, deadline=Deadline.after(2)) is None


async def test_a_listener_hears_what_comes_after_it_was_opened(stack: LocalBus) -> None:
    where = subjects.deltas(CONVERSATION)
    async with stack.bus("gateway") as bus, stack.bus("assistant") as author:
        async with bus.listen(where, kinds=(Delta,)) as listener:
            for index in range(100):
                await author.broadcast(where, DELTA.model_copy(update={"index": index}))
            heard = [await listener.next(Deadline.after(5)) for _ in range(100)]

    assert [delta.index for delta in heard if isinstance(delta, Delta)] == list(range(100))


async def test_a_listener_passes_over_kinds_it_does_not_know(stack: LocalBus) -> None:
    where = subjects.deltas(CONVERSATION)
    async with stack.bus("gateway") as bus, stack.bus("assistant") as author:
        async with bus.listen(where, kinds=(Delta,)) as listener:
            await author.broadcast(where, Signal(kind=SignalKind.STOP))
            await author.broadcast(where, DELTA)

            assert await listener.next(Deadline.after(5)) == DELTA


async def test_a_listener_that_hears_nothing_says_so(stack: LocalBus) -> None:
    async with stack.bus("gateway") as bus:
        async with bus.listen(subjects.deltas(CONVERSATION), kinds=(Delta,)) as listener:
            with pytest.raises(DeadlineExceeded):
                await listener.next(Deadline.after(0.05))


async def test_a_slow_listener_is_told_that_it_lost_something(stack: LocalBus) -> None:
    where = subjects.deltas(CONVERSATION)
    async with stack.bus("gateway") as bus, stack.bus("assistant") as author:
        async with bus.listen(where, kinds=(Delta,), limit=4) as listener:
            for _ in range(8):
                await author.broadcast(where, DELTA)
            await author.client.flush()
            await bus.client.flush()

            with pytest.raises(Overloaded):
                for _ in range(9):
                    await listener.next(Deadline.after(1))


async def test_closing_with_an_unread_subscription_does_not_hang(stack: LocalBus) -> None:
    # nats-py's drain() would wait here for its whole time-out.
    async with asyncio.timeout(5):
        async with stack.bus("gateway") as bus, stack.bus("assistant") as author:
            await bus.client.subscribe(subjects.ALL_DELTAS)
            await bus.client.flush()
            await author.broadcast(subjects.deltas(CONVERSATION), DELTA)
            await author.client.flush()


async def test_the_connection_never_gives_up_reconnecting(stack: LocalBus) -> None:
    async with stack.bus("gateway") as bus:
        assert bus.client.options["max_reconnect_attempts"] == -1
        assert bus.client.options["ping_interval"] == 10


async def test_the_largest_message_fits_with_its_headers(stack: LocalBus) -> None:
    async with stack.bus("gateway") as bus:
        rest = len(encode(DELTA.model_copy(update={"text": "x" * 70_000}))) - 70_000
        largest = DELTA.model_copy(update={"text": "x" * (MAX_PAYLOAD_BYTES - rest)})
        assert len(encode(largest)) == MAX_PAYLOAD_BYTES

        stored = await bus.store_once(HERE, largest, deadline=Deadline.after(10))

        assert stored.is_new
        assert bus.is_connected


async def test_an_unreachable_broker_is_said_in_time(stack: LocalBus) -> None:
    await stack.broker.kill()

    with pytest.raises(Unavailable, match="cannot be reached"):
        async with asyncio.timeout(5):
            async with connected("gateway", stack.config, stack.secrets, within_s=0.3):
                pass


async def disconnected(bus: Bus) -> None:
    async with asyncio.timeout(10):
        while bus.is_connected:
            await asyncio.sleep(0.01)


async def reconnected(bus: Bus) -> None:
    async with asyncio.timeout(10):
        while not bus.is_connected:
            await asyncio.sleep(0.01)
