"""The pieces of a reply that is being written, broadcast to whoever watches."""

from __future__ import annotations

from clawdbot.runtime.bus import Bus
from clawdbot.schema import subjects
from clawdbot.schema.ids import ConversationId
from clawdbot.schema.messages import Delta, DeltaEnd


class BusDeltas:
    """Implements `ports.Deltas`."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def send(self, conversation: ConversationId, piece: Delta | DeltaEnd) -> None:
        """Broadcast one piece; nothing tells whether anybody heard it."""
        await self._bus.broadcast(subjects.deltas(conversation), piece)
