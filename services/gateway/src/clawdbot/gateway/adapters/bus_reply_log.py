"""The replies of API conversations in the OUTBOUND stream, and what is said of them on the way."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from clawdbot.gateway.domain.files import Link, with_links
from clawdbot.gateway.domain.messages import API
from clawdbot.gateway.domain.sockets import Place, Position, StoredReply
from clawdbot.gateway.ports.reply_log import Ear
from clawdbot.runtime.bus import Bus
from clawdbot.runtime.kept import Kept, Raw, Undecodable
from clawdbot.runtime.listener import Overheard
from clawdbot.schema import subjects
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import InvalidMessage
from clawdbot.schema.ids import ConversationId
from clawdbot.schema.messages import Delta, OutboundMessage
from clawdbot.schema.streams import OUTBOUND

log = logging.getLogger(__name__)

ALL_OF_API = subjects.outbound_of_channel(API)
NOBODYS = ConversationId("")
"""Of a message whose address is none; it is passed over."""
_DELTAS_ROOT = subjects.ALL_DELTAS.removesuffix(">")


class BusReplyLog:
    """A `ReplyLog` on the bus.

    Args:
        bus: the connection.
        link: gives the addresses of files that go with replies.
    """

    def __init__(self, bus: Bus, link: Link) -> None:
        self._bus = bus
        self._link = link

    async def first_kept(self, *, deadline: Deadline) -> int | None:
        """Return the number of the oldest message in the stream."""
        stored = await self._next(subjects.ALL_OUTBOUND, 0, deadline)
        return None if stored is None else stored.seq

    async def last(self, *, deadline: Deadline) -> Position:
        """Return the place of the newest reply on the API's channel."""
        try:
            kept = await self._bus.read_last(
                OUTBOUND, ALL_OF_API, OutboundMessage, deadline=deadline
            )
        except Undecodable as exc:
            return _position(exc.raw)
        return Position(0, 0) if kept is None else _position(kept.raw)

    async def next(self, after: int, *, deadline: Deadline) -> StoredReply | None:
        """Return the next reply on the API's channel."""
        return await self._next(ALL_OF_API, after, deadline)

    async def next_of(self, place: Place, after: int, *, deadline: Deadline) -> StoredReply | None:
        """Return the next reply of one of its conversations."""
        subject = subjects.outbound_of_conversation(API, place.tenant, place.conversation_id)
        return await self._next(subject, after, deadline)

    async def _next(self, subject: str, after: int, deadline: Deadline) -> StoredReply | None:
        try:
            kept = await self._bus.read_next(
                OUTBOUND, subject, after + 1, OutboundMessage, deadline=deadline
            )
        except Undecodable as exc:
            return _unreadable(exc.raw)
        return None if kept is None else self._stored(kept)

    def _stored(self, kept: Kept[OutboundMessage]) -> StoredReply:
        message = with_links(kept.message, self._link)
        return StoredReply(_position(kept.raw), message.conversation_id, message)

    @asynccontextmanager
    async def overhear(self, ear: Ear) -> AsyncIterator[None]:
        """Hear the API's replies and everybody's deltas, on two subscriptions of the process."""

        def on_reply(_: Overheard) -> None:
            ear.ring()

        def on_delta(overheard: Overheard) -> None:
            conversation_id = ConversationId(overheard.subject.removeprefix(_DELTAS_ROOT))
            if ear.wants(conversation_id) and (delta := _read(overheard)):
                ear.tell(conversation_id, delta)

        async with (
            self._bus.overhear(ALL_OF_API, on_reply),
            self._bus.overhear(subjects.ALL_DELTAS, on_delta),
        ):
            yield


def _read(overheard: Overheard) -> Delta | None:
    try:
        return overheard.read(Delta)
    except InvalidMessage as exc:
        log.warning("a delta cannot be read", extra={"reason": exc.message})
        return None


def _unreadable(raw: Raw) -> StoredReply:
    log.error("a stored reply cannot be read", extra={"sequence": raw.sequence})
    try:
        conversation_id = subjects.parse_outbound(raw.subject).conversation_id
    except InvalidMessage:
        conversation_id = NOBODYS
    return StoredReply(_position(raw), conversation_id, None)


def _position(raw: Raw) -> Position:
    return Position(raw.sequence, raw.stored_at_ns)
