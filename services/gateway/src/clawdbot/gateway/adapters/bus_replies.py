"""Replies as they are broadcast, and as the OUTBOUND stream keeps them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from clawdbot.gateway.domain.files import Link, with_links
from clawdbot.gateway.ports import Heard
from clawdbot.runtime.bus import Bus
from clawdbot.runtime.listener import Listener
from clawdbot.schema import subjects
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.messages import Delta, DeltaEnd, InboundMessage, OutboundMessage
from clawdbot.schema.streams import OUTBOUND


class BusListening:
    """A `Listening` on the bus."""

    def __init__(self, listener: Listener, link: Link) -> None:
        self._listener = listener
        self._link = link

    async def next(self, deadline: Deadline) -> Heard:
        """Return what comes next about the conversation."""
        while True:
            heard = await self._listener.next(deadline)
            if isinstance(heard, OutboundMessage):
                return with_links(heard, self._link)
            if isinstance(heard, Delta | DeltaEnd):
                return heard


class BusReplies:
    """`Replies` on the bus.

    Args:
        bus: the connection.
        link: gives the addresses of files that go with them.
    """

    def __init__(self, bus: Bus, link: Link) -> None:
        self._bus = bus
        self._link = link

    @asynccontextmanager
    async def listen(self, message: InboundMessage) -> AsyncIterator[BusListening]:
        """Hear the conversation's deltas and the replies to `message`."""
        async with self._bus.listen(
            subjects.deltas(message.conversation_id),
            _replies_to(message),
            kinds=(Delta, DeltaEnd, OutboundMessage),
        ) as listener:
            yield BusListening(listener, self._link)

    async def answered(
        self, message: InboundMessage, *, deadline: Deadline
    ) -> OutboundMessage | None:
        """Return the last stored part when it is the final one."""
        kept = await self._bus.read_last(
            OUTBOUND, _replies_to(message), OutboundMessage, deadline=deadline
        )
        if kept is None or not kept.message.is_final:
            return None
        return with_links(kept.message, self._link)


def _replies_to(message: InboundMessage) -> str:
    return subjects.outbound_of_message(
        message.channel, message.tenant, message.conversation_id, message.message_id
    )
