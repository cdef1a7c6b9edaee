"""The memory service, over the bus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from clawdbot.runtime.bus import Bus
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import DeadlineExceeded, Unavailable
from clawdbot.schema.memory import (
    CONVERSATIONS,
    FORGET_CONVERSATION,
    HISTORY,
    ConversationLine,
    ConversationsRequest,
    ConversationSummary,
    ForgetConversationRequest,
    HistoryRequest,
)
from clawdbot.schema.principal import Principal, PrincipalSigner


class BusConversations:
    """`Conversations` of the memory service.

    Args:
        bus: where the memory service is.
        signer: whose tokens live shortly, since they are for one call each.
    """

    def __init__(self, bus: Bus, signer: PrincipalSigner) -> None:
        self._bus = bus
        self._signer = signer

    async def list_latest(
        self, principal: Principal, request: ConversationsRequest, *, deadline: Deadline
    ) -> tuple[ConversationSummary, ...]:
        """Ask for a page."""
        token = self._signer.sign(principal)
        with _answering():
            reply = await self._bus.call(CONVERSATIONS, request, deadline=deadline, principal=token)
        return reply.conversations

    async def history(
        self, principal: Principal, request: HistoryRequest, *, deadline: Deadline
    ) -> tuple[ConversationLine, ...]:
        """Ask for a page."""
        token = self._signer.sign(principal)
        with _answering():
            reply = await self._bus.call(HISTORY, request, deadline=deadline, principal=token)
        return reply.lines

    async def forget(self, principal: Principal, *, deadline: Deadline) -> int:
        """Have it erased; safe to ask again."""
        token, request = self._signer.sign(principal), ForgetConversationRequest()
        with _answering():
            reply = await self._bus.call(
                FORGET_CONVERSATION, request, deadline=deadline, principal=token
            )
        return reply.lines


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except DeadlineExceeded as exc:
        raise Unavailable("the memory service does not answer in time") from exc
