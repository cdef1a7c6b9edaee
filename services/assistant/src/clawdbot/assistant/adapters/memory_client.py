"""The memory service, over the bus."""

from __future__ import annotations

from collections.abc import Sequence

from clawdbot.assistant.domain.turn import Mandate
from clawdbot.runtime.bus import Bus
from clawdbot.schema import memory
from clawdbot.schema.memory import ConversationLine, Memory, RecallReply


class MemoryClient:
    """Implements `ports.MemoryService`."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def recall(self, query: str, limit: int, mandate: Mandate) -> RecallReply:
        """Return at most `limit` memories that bear on `query`, best first."""
        request = memory.RecallRequest(query=query, limit=limit)
        return await self._bus.call(
            memory.RECALL, request, deadline=mandate.deadline, principal=mandate.principal
        )

    async def history(self, limit: int, mandate: Mandate) -> tuple[ConversationLine, ...]:
        """Return the newest `limit` lines, oldest of them first."""
        request = memory.HistoryRequest(limit=limit)
        reply = await self._bus.call(
            memory.HISTORY, request, deadline=mandate.deadline, principal=mandate.principal
        )
        return reply.lines

    async def append(
        self, lines: Sequence[ConversationLine], mandate: Mandate, name: str | None = None
    ) -> None:
        """Add lines to the conversation, called `name`; known ids change nothing."""
        request = memory.AppendRequest(lines=tuple(lines), conversation_name=name)
        await self._bus.call(
            memory.APPEND, request, deadline=mandate.deadline, principal=mandate.principal
        )

    async def remember(self, kept: Memory, mandate: Mandate) -> None:
        """Keep a memory; a known id changes nothing."""
        request = memory.RememberRequest(memories=(kept,))
        await self._bus.call(
            memory.REMEMBER, request, deadline=mandate.deadline, principal=mandate.principal
        )
