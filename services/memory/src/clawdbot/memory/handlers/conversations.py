"""Conversations: their lines, and which there are."""

from __future__ import annotations

from clawdbot.memory.domain.owner import Conversation, Owner
from clawdbot.memory.ports import ConversationStore
from clawdbot.schema.errors import InvalidMessage
from clawdbot.schema.memory import (
    AppendReply,
    AppendRequest,
    ConversationsReply,
    ConversationsRequest,
    ForgetConversationReply,
    ForgetConversationRequest,
    HistoryReply,
    HistoryRequest,
)
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
        length = await self._store.append(
            _conversation(call.principal), request.lines, request.conversation_name
        )
        return AppendReply(length=length)

    async def history(self, request: HistoryRequest, call: Call) -> HistoryReply:
        """Return the newest lines of the principal's conversation.

        Raises:
            Forbidden: the principal may not read.
        """
        call.principal.require(Scope.MEMORY_READ)
        lines = await self._store.history(
            _conversation(call.principal), request.limit, request.before_id
        )
        return HistoryReply(lines=tuple(lines))

    async def list_latest(self, request: ConversationsRequest, call: Call) -> ConversationsReply:
        """Return a page of the principal's conversations, the latest first.

        Raises:
            Forbidden: the principal may not read.
            InvalidMessage: only one half of a page's end is given.
        """
        call.principal.require(Scope.MEMORY_READ)
        if (request.before_ms is None) != (request.before_id is None):
            raise InvalidMessage("give before_ms and before_id, or neither", field="before_id")
        before = None
        if request.before_ms is not None and request.before_id is not None:
            before = request.before_ms, request.before_id
        found = await self._store.list_latest(Owner.of(call.principal), request.limit, before)
        return ConversationsReply(conversations=tuple(found))

    async def forget(
        self,
        request: ForgetConversationRequest,  # noqa: ARG002 -- the principal says which
        call: Call,
    ) -> ForgetConversationReply:
        """Erase the principal's conversation.

        Raises:
            Forbidden: the principal may not write.
        """
        call.principal.require(Scope.MEMORY_WRITE)
        return ForgetConversationReply(
            lines=await self._store.forget(_conversation(call.principal))
        )


def _conversation(principal: Principal) -> Conversation:
    return Conversation(Owner.of(principal), principal.conversation_id)
