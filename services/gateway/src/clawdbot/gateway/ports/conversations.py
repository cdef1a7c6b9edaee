"""Conversations as they are remembered, with a fake that remembers in a dict."""

from __future__ import annotations

from typing import Protocol

from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, TooLarge
from clawdbot.schema.ids import ConversationId
from clawdbot.schema.memory import (
    ConversationLine,
    ConversationsRequest,
    ConversationSummary,
    HistoryRequest,
)
from clawdbot.schema.principal import Principal


class Conversations(Protocol):
    """The principal's conversations; every call raises ClawdbotError as the memory reports it.

    Raises:
        Unavailable: the memory does not answer.
    """

    async def list_latest(
        self, principal: Principal, request: ConversationsRequest, *, deadline: Deadline
    ) -> tuple[ConversationSummary, ...]:
        """Return a page of all that the principal's user has, the latest first."""
        ...

    async def history(
        self, principal: Principal, request: HistoryRequest, *, deadline: Deadline
    ) -> tuple[ConversationLine, ...]:
        """Return the newest lines of the principal's conversation, the oldest of them first.

        Raises:
            TooLarge: so many do not fit into one answer.
        """
        ...

    async def forget(self, principal: Principal, *, deadline: Deadline) -> int:
        """Erase the lines of the principal's conversation; return how many there were."""
        ...


class RecordingConversations:
    """Remembers what a test puts there.

    Attributes:
        summaries: each user's conversations, the latest first.
        lines: each conversation's lines, the oldest first.
        principals: on whose behalf each call was, in order.
        largest: how many lines fit into one answer.
        failure: raised by every call while it is set.
    """

    def __init__(self) -> None:
        self.summaries: dict[str, list[ConversationSummary]] = {}
        self.lines: dict[ConversationId, list[ConversationLine]] = {}
        self.principals: list[Principal] = []
        self.largest = 1000
        self.failure: ClawdbotError | None = None

    async def list_latest(
        self, principal: Principal, request: ConversationsRequest, *, deadline: Deadline
    ) -> tuple[ConversationSummary, ...]:
        """Return a page."""
        self._note(principal, deadline)
        end = (request.before_ms, request.before_id)
        found = [
            summary
            for summary in self.summaries.get(principal.user, [])
            if request.before_ms is None or (summary.updated_at_ms, summary.id) < end
        ]
        return tuple(found[: request.limit])

    async def history(
        self, principal: Principal, request: HistoryRequest, *, deadline: Deadline
    ) -> tuple[ConversationLine, ...]:
        """Return a page."""
        self._note(principal, deadline)
        lines = self.lines.get(principal.conversation_id, [])
        if request.before_id is not None:
            ids = [line.id for line in lines]
            lines = lines[: ids.index(request.before_id)] if request.before_id in ids else []
        newest = lines[-request.limit :]
        if len(newest) > self.largest:
            raise TooLarge(f"more than {self.largest} lines")
        return tuple(newest)

    async def forget(self, principal: Principal, *, deadline: Deadline) -> int:
        """Forget it."""
        self._note(principal, deadline)
        return len(self.lines.pop(principal.conversation_id, []))

    def _note(self, principal: Principal, deadline: Deadline) -> None:
        deadline.require()
        self.principals.append(principal)
        if self.failure is not None:
            raise self.failure
