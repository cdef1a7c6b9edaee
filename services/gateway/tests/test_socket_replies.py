"""Who hears which stored reply, over the recording log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawdbot.gateway.domain.sockets import Place, StoredReply
from clawdbot.gateway.handlers.replies import Feed, Follower
from clawdbot.gateway.ports.reply_log import RecordingReplyLog
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import TooLarge, Unavailable
from clawdbot.schema.ids import Channel, ConversationId, MessageId, Tenant
from clawdbot.schema.messages import Delta, OutboundMessage

TENANT = Tenant("default")


def place(name: str) -> Place:
    return Place(name, TENANT, ConversationId(f"conversation-{name}"))


def reply(name: str) -> OutboundMessage:
    return OutboundMessage(
        channel=Channel("api"),
        tenant=TENANT,
        conversation_id=place(name).conversation_id,
        message_id=MessageId("m"),
        content="hello",
        created_at_ms=1,
    )


class RecordingHearer:
    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []
        self.deltas: list[str] = []
        self.is_restarted = False

    def hear(self, name: str, stored: StoredReply) -> None:
        self.heard.append((name, stored.seq))

    def overhear(self, name: str, delta: Delta) -> None:
        self.deltas.append(delta.text)

    def restart(self) -> None:
        self.is_restarted = True

    async def catch_up(self, feed: Feed) -> None:
        while feed.is_behind:
            if found := await feed.next():
                self.hear(*found)


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


@asynccontextmanager
async def following(log: RecordingReplyLog, hearer: RecordingHearer) -> AsyncIterator[Follower]:
    follower = Follower(log, idle_s=0.01)
    running = asyncio.create_task(follower.run())
    try:
        with follower.listen(hearer):
            await follower.ready(Deadline.after(5))
            yield follower
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_what_is_stored_from_now_on_is_heard_once_and_only_of_ones_own() -> None:
    log, hearer = RecordingReplyLog(), RecordingHearer()
    log.store(reply("a"))
    async with following(log, hearer) as follower:
        feed = Feed(follower, log, hearer, 8)
        feed.watch(place("a"))
        feed.watch(place("a"))

        for name in ("b", "a", "b", "a"):
            log.store(reply(name))
        await eventually(lambda: follower.seq == 5)

    assert hearer.heard == [("a", 3), ("a", 5)]


async def test_what_was_missed_comes_merged_by_its_number() -> None:
    log, hearer = RecordingReplyLog(), RecordingHearer()
    for name in ("a", "b", "a", "c", "b", "a"):
        log.store(reply(name))
    async with following(log, hearer) as follower:
        feed = Feed(follower, log, hearer, 8)
        for name in ("a", "b"):
            feed.watch(place(name), after=1)

        await hearer.catch_up(feed)

    assert hearer.heard == [("b", 2), ("a", 3), ("b", 5), ("a", 6)]


@given(
    before=st.lists(st.sampled_from("abc"), max_size=6),
    after=st.integers(0, 6),
    during=st.lists(st.sampled_from(["a", "b", "c", "turn", "turn", "turn"]), max_size=40),
    pauses=st.lists(st.integers(0, 6), max_size=40),
)
@settings(max_examples=300, deadline=None)
def test_catching_up_while_more_comes_loses_repeats_and_reorders_nothing(
    before: list[str], after: int, during: list[str], pauses: list[int]
) -> None:
    log, hearer = RecordingReplyLog(), RecordingHearer()

    async def run() -> None:
        for name in before:
            log.store(reply(name))
        async with following(log, hearer) as follower:
            log.pauses = iter(pauses)
            feed = Feed(follower, log, hearer, 8)
            for name in "ab":
                feed.watch(place(name), after)
            catching_up = asyncio.create_task(hearer.catch_up(feed))
            for step in during:
                if step == "turn":
                    await asyncio.sleep(0)
                else:
                    log.store(reply(step))
            await catching_up
            await eventually(lambda: follower.seq == len(log.kept))

    asyncio.run(run())

    start = min(after, len(before))
    names = [*before, *(step for step in during if step in "abc")]
    expected = [(n, seq) for seq, n in enumerate(names, 1) if seq > start and n in "ab"]
    assert hearer.heard == expected


async def test_catching_up_overtakes_no_reply_that_is_still_to_be_told_live() -> None:
    log, hearer = RecordingReplyLog(), RecordingHearer()
    is_looking = False

    def long_way() -> Iterator[int]:
        nonlocal is_looking
        is_looking = True
        yield 50

    log.store(reply("b"))
    async with following(log, hearer) as follower:
        feed = Feed(follower, log, hearer, 8)
        for name in "ab":
            feed.watch(place(name), after=0)
        # It is seen that "a" has nothing; what it gets then, the follower knows of last.
        first = await feed.next()
        assert first is not None
        hearer.hear(*first)
        log.pauses = long_way()
        log.store(reply("a"))
        await eventually(lambda: is_looking)
        log.store(reply("b"))
        await hearer.catch_up(feed)
        await eventually(lambda: follower.seq == 3)

    assert hearer.heard == [("b", 1), ("a", 2), ("b", 3)]


async def test_a_broker_that_is_away_for_a_while_loses_nothing() -> None:
    log, hearer = RecordingReplyLog(), RecordingHearer()
    async with following(log, hearer) as follower:
        feed = Feed(follower, log, hearer, 8)
        feed.watch(place("a"))
        log.failure = Unavailable("gone")
        log.store(reply("a"))
        await asyncio.sleep(0.01)
        log.failure = None

        await eventually(lambda: bool(hearer.heard))

    assert hearer.heard == [("a", 1)]


async def test_deltas_reach_whoever_watches_and_is_not_catching_up() -> None:
    log, hearer = RecordingReplyLog(), RecordingHearer()
    log.store(reply("a"))
    delta = Delta(message_id=MessageId("m"), index=0, text="he")
    async with following(log, hearer) as follower:
        feed = Feed(follower, log, hearer, 8)
        log.tell(place("a").conversation_id, delta)
        feed.watch(place("a"), after=0)
        log.tell(place("a").conversation_id, delta)
        await hearer.catch_up(feed)
        log.tell(place("a").conversation_id, delta)
        feed.forget("a")
        log.tell(place("a").conversation_id, delta)

    assert hearer.deltas == ["he"]


async def test_one_conversation_too_many_is_refused() -> None:
    log, hearer = RecordingReplyLog(), RecordingHearer()
    async with following(log, hearer) as follower:
        feed = Feed(follower, log, hearer, 1)
        feed.watch(place("a"))

        with pytest.raises(TooLarge, match="no more than 1"):
            feed.watch(place("b"))

        feed.forget("a")
        feed.watch(place("b"))


async def test_a_stream_that_counts_anew_restarts_its_listeners() -> None:
    log, hearer = RecordingReplyLog(), RecordingHearer()
    for _ in range(5):
        log.store(reply("a"))
    async with following(log, hearer) as follower:
        log.cut(1)
        log.store(reply("a"))

        await eventually(lambda: hearer.is_restarted)

    assert follower.seq == 2
