"""Who hears which stored reply: in the order of the stream, each once, live or caught up.

One follower per process reads the replies of all API conversations in the order of the stream. A
connection hears what concerns it from there; what it missed before it came is read conversation by
conversation, merged by number and only as far as the follower is, so that the two join without a
hole and the numbers that a connection sees only grow. That is why one number is enough to resume.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from clawdbot.gateway.domain.sockets import Place, Position, StoredReply
from clawdbot.gateway.ports.reply_log import ReplyLog
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, TooLarge, Unavailable
from clawdbot.schema.ids import ConversationId
from clawdbot.schema.messages import Delta

log = logging.getLogger(__name__)

READ_S = 5.0
IDLE_S = 2.0
"""How often the stream is looked at when nothing was heard: what is broadcast may be lost."""
SOON_S = (0.005, 0.02, 0.05, 0.1, 0.2, 0.5)
"""A reply is heard before it is stored, so what rang is looked for again after these times."""
RETRY_S = 1.0


class Hearer(Protocol):
    """A connection, as far as it hears."""

    def hear(self, name: str, stored: StoredReply) -> None:
        """Take the next stored reply of the conversation `name`."""
        ...

    def overhear(self, name: str, delta: Delta) -> None:
        """Take a piece of a reply that is being written; it may be dropped."""
        ...

    def restart(self) -> None:
        """End, since the numbers in the stream mean something else now."""
        ...


class Watch:
    """One conversation of one connection."""

    __slots__ = ("after", "feed", "head", "is_read", "place")

    def __init__(self, feed: Feed, place: Place, after: int, *, is_read: bool) -> None:
        self.feed = feed
        self.place = place
        self.after = after
        """Everything up to this number is with the connection."""
        self.head: StoredReply | None = None
        """While catching up: the next one, when it was read already."""
        self.is_read = is_read
        """While catching up: whether `head` is all that there is to know."""


class Follower:
    """Reads the replies of all API conversations in order, for as long as somebody listens.

    Args:
        replies: where they are.
        idle_s: how often it looks when nothing is heard.
    """

    def __init__(self, replies: ReplyLog, *, idle_s: float = IDLE_S) -> None:
        self._replies = replies
        self._idle_s = idle_s
        self._watches: dict[ConversationId, list[Watch]] = {}
        self._position = Position(0, 0)
        self._hearers: set[Hearer] = set()
        self._is_wanted = asyncio.Event()
        self._is_ready = asyncio.Event()
        self._bell = asyncio.Event()
        self._moved = asyncio.Event()
        self._looks = 0
        """Looks since the bell rang without anything new; past `SOON_S` it is quiet."""

    @property
    def seq(self) -> int:
        """Every reply up to this number was told to whoever listens for it."""
        return self._position.seq

    @contextmanager
    def listen(self, hearer: Hearer) -> Iterator[None]:
        """Follow at least until the context is left."""
        self._hearers.add(hearer)
        self._is_wanted.set()
        try:
            yield
        finally:
            self._hearers.discard(hearer)
            if not self._hearers:
                self._is_wanted.clear()
                self._bell.set()

    async def ready(self, deadline: Deadline) -> None:
        """Return once replies that are stored from now on will be told.

        Raises:
            Unavailable: the stream cannot be read in time.
        """
        try:
            async with asyncio.timeout(deadline.require()):
                await self._is_ready.wait()
        except TimeoutError as exc:
            raise Unavailable("the stream of replies cannot be followed right now") from exc

    async def reach(self, seq: int, deadline: Deadline) -> bool:
        """Return once everything up to `seq` was told; False when the stream is not that long.

        Raises:
            Unavailable: the stream cannot be read in time.
        """
        if seq > self.seq and seq > (await self._replies.last(deadline=deadline)).seq:
            return False
        try:
            async with asyncio.timeout(deadline.require()):
                while self.seq < seq:
                    self.ring()
                    await self._moved.wait()
        except TimeoutError as exc:
            raise Unavailable("the stream of replies cannot be followed right now") from exc
        return True

    async def run(self) -> None:
        """Follow while somebody listens, until cancelled."""
        while True:
            await self._is_wanted.wait()
            try:
                async with self._replies.overhear(self):
                    self._position = await self._replies.last(deadline=Deadline.after(READ_S))
                    self._is_ready.set()
                    await self._follow()
            except ClawdbotError as exc:
                log.warning("replies cannot be followed", extra={"reason": exc.message})
                await asyncio.sleep(RETRY_S)
            finally:
                self._is_ready.clear()

    def register(self, watch: Watch) -> None:
        """Tell `watch` of what is stored from now on."""
        self._watches.setdefault(watch.place.conversation_id, []).append(watch)

    def unregister(self, watch: Watch) -> None:
        """Tell it nothing more."""
        conversation_id = watch.place.conversation_id
        left = [other for other in self._watches.get(conversation_id, []) if other is not watch]
        if left:
            self._watches[conversation_id] = left
        else:
            self._watches.pop(conversation_id, None)

    def ring(self) -> None:
        """Look for a new reply, as one is being stored."""
        self._looks = 0
        self._bell.set()

    def wants(self, conversation_id: ConversationId) -> bool:
        """Return whether anybody here hears of that conversation."""
        return conversation_id in self._watches

    def tell(self, conversation_id: ConversationId, delta: Delta) -> None:
        """Pass a piece of a reply on to whoever hears of its conversation."""
        for watch in self._watches.get(conversation_id, ()):
            watch.feed.overhear(watch, delta)

    async def _follow(self) -> None:
        while self._hearers:
            try:
                await self._step()
            except ClawdbotError as exc:
                # The place in the stream is kept: nothing is passed over, it only comes later.
                log.warning("a reply cannot be read", extra={"reason": exc.message})
                await asyncio.sleep(RETRY_S)
        # Before anything is awaited: whoever comes now has to wait for the next round.
        self._is_ready.clear()

    async def _step(self) -> None:
        # Whatever rings from here on is looked for after this look.
        self._bell.clear()
        stored = await self._replies.next(self.seq, deadline=Deadline.after(READ_S))
        if stored is not None:
            # Of two that rang, the second may not be there yet.
            self._looks = 0 if self._bell.is_set() else len(SOON_S) - 2
            self._position = stored.position
            self._moved.set()
            self._moved = asyncio.Event()
            for watch in self._watches.get(stored.conversation_id, ()):
                watch.feed.deliver(watch, stored)
        elif self._looks < len(SOON_S):
            await self._rest(SOON_S[self._looks])
            self._looks += 1
        else:
            await self._rest(self._idle_s)
            await self._look_for_reset()

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._bell.wait()
        except TimeoutError:
            return

    async def _look_for_reset(self) -> None:
        if self._bell.is_set():
            return
        last = await self._replies.last(deadline=Deadline.after(READ_S))
        if last.seq <= self.seq and last.stored_at_ns > self._position.stored_at_ns:
            # It lost its tail (a power cut, an old backup) and counts anew.
            log.error("stream sequence reused", extra={"stream": "replies"})
            self._position = last
            for hearer in list(self._hearers):
                hearer.restart()


class Feed:
    """What one connection hears."""

    def __init__(self, follower: Follower, replies: ReplyLog, hearer: Hearer, limit: int) -> None:
        self._follower = follower
        self._replies = replies
        self._hearer = hearer
        self._limit = limit
        self._watches: dict[str, Watch] = {}
        self.is_behind = False
        """Whether stored replies are to be fetched with `next`; otherwise they are told live."""

    @property
    def names(self) -> list[str]:
        """The conversations that it hears of."""
        return list(self._watches)

    def watch(self, place: Place, after: int | None = None) -> bool:
        """Hear of a conversation.

        Args:
            place: which.
            after: from behind this number of the stream; None is from now on.

        Returns:
            Whether older replies are to be fetched first.

        Raises:
            TooLarge: it would be one conversation too many.
        """
        known = self._watches.get(place.name)
        if known is not None and after is None:
            return False
        if known is None and len(self._watches) >= self._limit:
            raise TooLarge(
                f"no more than {self._limit} conversations on one connection",
                field="conversation_id",
                fix="unsubscribe from one, or open another connection",
            )
        self.forget(place.name)
        position = self._follower.seq
        known_up_to = position if after is None else min(after, position)
        is_old = known_up_to < position
        watch = Watch(self, place, known_up_to, is_read=not is_old)
        self._watches[place.name] = watch
        self._follower.register(watch)
        self.is_behind = self.is_behind or is_old
        return is_old

    def forget(self, name: str) -> None:
        """Hear no more of a conversation."""
        if watch := self._watches.pop(name, None):
            self._follower.unregister(watch)

    def close(self) -> None:
        """Hear nothing more."""
        for name in self.names:
            self.forget(name)

    def deliver(self, watch: Watch, stored: StoredReply) -> None:
        """Take a reply that the follower came by."""
        if self.is_behind:
            # It is fetched when its turn comes.
            watch.is_read = watch.head is not None
        elif stored.seq > watch.after:
            watch.after = stored.seq
            self._hearer.hear(watch.place.name, stored)

    def overhear(self, watch: Watch, delta: Delta) -> None:
        """Take a piece of a reply that is being written."""
        if not self.is_behind:
            self._hearer.overhear(watch.place.name, delta)

    async def next(self) -> tuple[str, StoredReply] | None:
        """Return the oldest reply that was missed, with its conversation; None when none is left.

        Raises:
            Unavailable: the stream cannot be read right now.
        """
        while unread := next((w for w in self._watches.values() if not w.is_read), None):
            await self._read(unread)
        # Nothing is awaited from here on: what is not yet told live is left for the follower.
        known = [w for w in self._watches.values() if w.head and w.head.seq <= self._follower.seq]
        if not known:
            for watch in self._watches.values():
                watch.head = None
            self.is_behind = False
            return None
        oldest = min(known, key=_head_seq)
        stored, oldest.head, oldest.is_read = oldest.head, None, False
        if stored is None:
            raise TypeError("a watch that is known has a head")
        oldest.after = stored.seq
        return oldest.place.name, stored

    async def _read(self, watch: Watch) -> None:
        watch.is_read = True
        try:
            watch.head = await self._replies.next_of(
                watch.place, watch.after, deadline=Deadline.after(READ_S)
            )
        except ClawdbotError:
            watch.is_read = False
            raise


def _head_seq(watch: Watch) -> int:
    return 0 if watch.head is None else watch.head.seq
