"""The lines of conversations: append, and the newest of them."""

from __future__ import annotations

from clawdbot.memory.domain.owner import Conversation, Owner
from clawdbot.memory.ports import ConversationStore
from clawdbot.schema.memory import AppendReply, AppendRequest, HistoryReply, HistoryRequest
from clawdbot.schema.principal import Principal, Scope
from clawdbot.schema.rpc import Call


class Conversations:
    """Keeps what was said, in order, once."""

    def __init__(self, store: ConversationStore) -> None:
        self._store = store

    async def append(self, request: AppendRequest, call: Call) -> AppendReply:
        """Add lines to the principal's conversation; those already there are left alone.

        Raises:
            Forbidden: the principal may not write.
            Conflict: a line's id is taken by another line; then none is added.
        """
        call.principal.require(Scope.MEMORY_WRITE)
        length = await self._store.append(_conversation(call.principal), request.lines)
        return AppendReply(length=length)

    async def history(self, request: HistoryRequest, call: Call) -> HistoryReply:
        """Return the newest lines of the principal's conversation.

        Raises:
            Forbidden: the principal may not read.
        """
        call.principal.require(Scope.MEMORY_READ)
        lines = await self._store.history(_conversation(call.principal), request.limit)
        return HistoryReply(lines=tuple(lines))


def _conversation(principal: Principal) -> Conversation:
    return Conversation(Owner.of(principal), principal.conversation_id)
