"""The replies of API conversations as a log that can be followed, with a recording fake."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from clawdbot.gateway.domain.sockets import Place, Position, StoredReply
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError
from clawdbot.schema.ids import ConversationId
from clawdbot.schema.messages import Delta, OutboundMessage


class Ear(Protocol):
    """Hears what is broadcast about API conversations."""

    def ring(self) -> None:
        """Hear that a reply is being stored."""
        ...

    def wants(self, conversation_id: ConversationId) -> bool:
        """Return whether deltas of that conversation are of interest."""
        ...

    def tell(self, conversation_id: ConversationId, delta: Delta) -> None:
        """Hear a piece of a reply."""
        ...


class ReplyLog(Protocol):
    """The replies of all API conversations, as the stream keeps them."""

    async def first_kept(self, *, deadline: Deadline) -> int | None:
        """Return the number of the oldest reply of any channel, or None when there is none."""
        ...

    async def last(self, *, deadline: Deadline) -> Position:
        """Return the place of the newest reply; number 0 when there is none."""
        ...

    async def next(self, after: int, *, deadline: Deadline) -> StoredReply | None:
        """Return the first reply behind the number `after`, or None."""
        ...

    async def next_of(self, place: Place, after: int, *, deadline: Deadline) -> StoredReply | None:
        """Return the first reply of one conversation behind the number `after`, or None."""
        ...

    def overhear(self, ear: Ear) -> AbstractAsyncContextManager[None]:
        """Tell `ear` what is broadcast from now on.

        Raises:
            Unavailable: the broker is away.
        """
        ...


class RecordingReplyLog:
    """Keeps replies in a list, each numbered by its place from 1.

    Attributes:
        kept: the replies; store with `store`, so that listeners hear.
        times: when each was stored, counted from 1.
        first: number of the oldest one that is still there.
        failure: raised by every read while it is set.
        pauses: for how many turns of the loop the next answers are on their way.
    """

    def __init__(self) -> None:
        self.kept: list[OutboundMessage] = []
        self.times: list[int] = []
        self.first = 1
        self._clock = 0
        self.failure: ClawdbotError | None = None
        self.pauses: Iterator[int] = iter(())
        self._ears: list[Ear] = []

    def store(self, message: OutboundMessage) -> int:
        """Keep a reply, tell listeners, and return its number."""
        self._clock += 1
        self.kept.append(message)
        self.times.append(self._clock)
        for ear in self._ears:
            ear.ring()
        return len(self.kept)

    def cut(self, length: int) -> None:
        """Lose everything behind the number `length`, as a broker may in a power cut."""
        del self.kept[length:], self.times[length:]

    def tell(self, conversation_id: ConversationId, delta: Delta) -> None:
        """Broadcast a piece of a reply."""
        for ear in self._ears:
            if ear.wants(conversation_id):
                ear.tell(conversation_id, delta)

    async def first_kept(self, *, deadline: Deadline) -> int | None:
        """Return the oldest number."""
        self._require(deadline)
        return self.first if self.first <= len(self.kept) else None

    async def last(self, *, deadline: Deadline) -> Position:
        """Return the newest place."""
        self._require(deadline)
        return Position(len(self.kept), self.times[-1] if self.times else 0)

    async def next(self, after: int, *, deadline: Deadline) -> StoredReply | None:
        """Look for the next one of any conversation."""
        self._require(deadline)
        found = next(self._behind(after), None)
        await self._pause()
        return found

    async def next_of(self, place: Place, after: int, *, deadline: Deadline) -> StoredReply | None:
        """Look for the next one of a conversation."""
        self._require(deadline)
        wanted = place.conversation_id
        found = next((r for r in self._behind(after) if r.conversation_id == wanted), None)
        await self._pause()
        return found

    @asynccontextmanager
    async def overhear(self, ear: Ear) -> AsyncIterator[None]:
        """Listen."""
        self._ears.append(ear)
        try:
            yield
        finally:
            self._ears.remove(ear)

    def _behind(self, after: int) -> Iterator[StoredReply]:
        for seq in range(max(after + 1, self.first), len(self.kept) + 1):
            message = self.kept[seq - 1]
            position = Position(seq, self.times[seq - 1])
            yield StoredReply(position, message.conversation_id, message)

    async def _pause(self) -> None:
        for _ in range(next(self.pauses, 1)):
            await asyncio.sleep(0)

    def _require(self, deadline: Deadline) -> None:
        deadline.require()
        if self.failure is not None:
            raise self.failure
