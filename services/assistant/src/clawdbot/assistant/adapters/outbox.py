"""Replies, stored once each in `OUTBOUND`; the gateway delivers them from there."""

from __future__ import annotations

import logging

from clawdbot.assistant.domain.turn import Mandate
from clawdbot.runtime.bus import Bus
from clawdbot.schema import subjects
from clawdbot.schema.messages import OutboundMessage

log = logging.getLogger(__name__)


class BusOutbox:
    """Implements `ports.Outbox`."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def reply(self, message: OutboundMessage, mandate: Mandate) -> None:
        """Store `message`; a second one in its place changes nothing."""
        subject = subjects.outbound(
            message.channel,
            message.tenant,
            message.conversation_id,
            message.message_id,
            message.part,
        )
        stored = await self._bus.store_once(
            subject, message, deadline=mandate.deadline, principal=mandate.principal
        )
        if not stored.is_new:
            log.info("reply was stored before", extra={"sequence": stored.sequence})
