"""The pieces of a reply that is being written, broadcast to whoever watches."""

from __future__ import annotations

import logging

from clawdbot.runtime.bus import Bus
from clawdbot.schema import subjects
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.ids import ConversationId
from clawdbot.schema.messages import Delta, DeltaEnd

log = logging.getLogger(__name__)


class BusDeltas:
    """Implements `ports.Deltas`."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def send(self, conversation: ConversationId, piece: Delta | DeltaEnd) -> None:
        """Broadcast one piece; nothing tells whether anybody heard it, nor whether it went out.

        What counts is the stored reply: a turn must not fail for want of listeners.
        """
        try:
            await self._bus.broadcast(subjects.deltas(conversation), piece)
        except Unavailable:
            log.debug("piece not broadcast")
