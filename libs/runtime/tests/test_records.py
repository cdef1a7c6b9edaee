"""Records on a real broker: created once, replaced by compare-and-set, followed by revision."""

from __future__ import annotations

import asyncio

import pytest

from clawdbot.runtime.bus import Bus
from clawdbot.runtime.records import Change, Records
from clawdbot.runtime.testing import LocalBus
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import DeadlineExceeded, InvalidMessage, Unavailable
from clawdbot.schema.ids import MessageId
from clawdbot.schema.messages import Delta
from clawdbot.schema.streams import BUCKETS

PAIRING = next(bucket for bucket in BUCKETS if bucket.name == "pairing")


def soon() -> Deadline:
    return Deadline.after(5)


def value(text: str) -> Delta:
    return Delta(message_id=MessageId("m"), index=0, text=text)


async def opened(bus: Bus) -> Records[Delta]:
    return await Records.open(bus, PAIRING, Delta)


async def test_a_key_is_created_once_by_whoever_comes_first(stack: LocalBus) -> None:
    async with stack.bus("gateway") as bus:
        records = await opened(bus)
        tries = [records.create("k", value(str(n)), deadline=soon()) for n in range(8)]
        revisions = await asyncio.gather(*tries)

    assert sum(revision is not None for revision in revisions) == 1


async def test_only_who_knows_the_revision_replaces_and_removes(stack: LocalBus) -> None:
    async with stack.bus("gateway") as bus:
        records = await opened(bus)
        first = await records.put("a.b", value("1"), deadline=soon())
        second = await records.replace("a.b", value("2"), first, deadline=soon())
        assert second is not None

        assert await records.replace("a.b", value("3"), first, deadline=soon()) is None
        assert not await records.remove("a.b", first, deadline=soon())
        found = await records.get("a.b", deadline=soon())
        assert found is not None
        assert (found.value.text, found.revision) == ("2", second)
        assert await records.remove("a.b", second, deadline=soon())
        assert await records.get("a.b", deadline=soon()) is None
        assert await records.create("a.b", value("4"), deadline=soon()) is not None


async def test_changes_are_followed_from_the_last_revision_seen(stack: LocalBus) -> None:
    async with stack.bus("gateway") as bus:
        records = await opened(bus)
        for key in ("a", "b", "a"):
            await records.put(key, value(key), deadline=soon())
        before = [change async for change in records.changes(deadline=soon())]
        await records.remove("b", deadline=soon())
        after = [change async for change in records.changes(before[-1].revision, deadline=soon())]
        nothing = [change async for change in records.changes(after[-1].revision, deadline=soon())]

    assert [change.key for change in before] == ["b", "a"]
    assert after == [Change("b", None, after[0].revision)]
    assert nothing == []


async def test_a_key_that_would_leave_its_bucket_is_refused(stack: LocalBus) -> None:
    async with stack.bus("gateway") as bus:
        records = await opened(bus)

        for key in ("", "a..b", "*", ">", "a b"):
            with pytest.raises(InvalidMessage):
                await records.put(key, value("x"), deadline=soon())


async def test_a_missing_broker_and_a_passed_deadline_are_told_apart(stack: LocalBus) -> None:
    async with stack.bus("gateway") as bus:
        records = await opened(bus)

        with pytest.raises(DeadlineExceeded):
            await records.get("k", deadline=Deadline.after(-1))
        await stack.broker.kill()
        with pytest.raises(Unavailable):
            await records.get("k", deadline=Deadline.after(1))
