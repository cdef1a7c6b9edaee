"""Messages of some subjects, as they are broadcast; bounded, in order of arrival."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from nats.aio.msg import Msg

from clawdbot.runtime import headers
from clawdbot.schema.codec import decode
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import Overloaded
from clawdbot.schema.wire import Wire

M = TypeVar("M", bound=Wire)


class Overheard:
    """A broadcast that is read only if somebody wants to.

    Attributes:
        subject: where it was published.
    """

    __slots__ = ("_msg", "subject")

    def __init__(self, msg: Msg) -> None:
        self._msg = msg
        self.subject: str = msg.subject

    def read(self, kind: type[M]) -> M | None:
        """Return it, or None when it is of another kind.

        Raises:
            InvalidMessage: it cannot be decoded.
        """
        if (self._msg.headers or {}).get(headers.SCHEMA) != kind.SCHEMA:
            return None
        return decode(kind, self._msg.data)


class Listener:
    """Hears broadcasts from the moment that `Bus.listen` returns it.

    Args:
        kinds: types that are wanted; others are passed over.
        limit: messages that may wait to be taken.
    """

    def __init__(self, kinds: tuple[type[Wire], ...], limit: int) -> None:
        self._kinds = {kind.SCHEMA: kind for kind in kinds}
        self._queue: asyncio.Queue[Msg] = asyncio.Queue(limit)
        self._has_overflowed = False

    async def hear(self, msg: Msg) -> None:
        """Take what the broker delivers."""
        try:
            self._queue.put_nowait(msg)
        except asyncio.QueueFull:
            self._has_overflowed = True

    async def next(self, deadline: Deadline) -> Wire:
        """Return the next message of a known kind.

        Raises:
            DeadlineExceeded: none came in time.
            Overloaded: messages were lost because nobody took them.
            InvalidMessage: one cannot be decoded.
        """
        while True:
            if self._has_overflowed:
                raise Overloaded("the listener was too slow and lost messages")
            async with deadline.guard("nothing arrived in time"):
                msg = await self._queue.get()
            name = (msg.headers or {}).get(headers.SCHEMA, "")
            if kind := self._kinds.get(name):
                return decode(kind, msg.data)
