"""A token's holder and their own conversations: which there are, what was said, forgetting one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from clawdbot.gateway.domain.api_messages import Author, api_place, api_submission
from clawdbot.gateway.domain.messages import API, Envelope, Submission
from clawdbot.gateway.ports import Screen
from clawdbot.gateway.ports.conversations import Conversations
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import DeadlineExceeded, NotFound, TooLarge, Unavailable
from clawdbot.schema.ids import Channel, ConversationId, Tenant
from clawdbot.schema.memory import (
    ConversationLine,
    ConversationsRequest,
    ConversationSummary,
    HistoryRequest,
)
from clawdbot.schema.principal import Principal

ANSWER_S = 5.0
"""How long the memory may take; people wait."""
LEAST_LINES = 2
"""Always fit into one answer; the older one tells whether there is a next page."""
LOOKING_ROUND = "default"
"""The conversation of a principal who asks about all of them."""

Item = TypeVar("Item")
PlaceId = Callable[[Tenant, Channel, tuple[str, ...]], ConversationId]
Seal = Callable[[Submission], Envelope]


@dataclass(frozen=True)
class Page(Generic[Item]):
    """A part of a list, and whether it goes on."""

    items: tuple[Item, ...]
    last: Item | None
    """Where the next page begins; None at the end of the list. It may be none of `items`."""


class OwnConversations:
    """Speaks to the memory as whoever the author's messages are from.

    Args:
        memory: where conversations are remembered.
        seal: gives a message's principal and ids, the same way as for messages that are kept.
        admission: says whether the author is let in, and as whom.
        place_id: names the conversation at a place.
    """

    def __init__(
        self, memory: Conversations, seal: Seal, admission: Screen, place_id: PlaceId
    ) -> None:
        self._memory = memory
        self._seal = seal
        self._admission = admission
        self._place_id = place_id

    async def list_latest(
        self, author: Author, limit: int, before: tuple[int, str] | None
    ) -> Page[ConversationSummary]:
        """Return the conversations that the author can name, the latest first.

        A person may have others, which have no name or are of another channel; they are left out,
        so that a page may have fewer than `limit` and still not be the last.

        Raises:
            SenderRefused: the author is not let in.
            Unavailable: the memory does not answer.
        """
        deadline = Deadline.after(ANSWER_S)
        principal = await self._principal(author, LOOKING_ROUND, deadline)
        at_ms, last_id = before or (None, None)
        # One more tells whether there is a next page.
        request = ConversationsRequest(limit=limit + 1, before_ms=at_ms, before_id=last_id)
        found = await self._memory.list_latest(principal, request, deadline=deadline)
        shown = tuple(each for each in found[:limit] if self._is_named(author, each))
        return Page(shown, found[limit - 1] if len(found) > limit else None)

    async def history(
        self, author: Author, name: str, limit: int, before_id: str | None
    ) -> Page[ConversationLine]:
        """Return the latest lines, or those before a line, the oldest first.

        Raises:
            NotFound: there is no such conversation.
            SenderRefused: the author is not let in.
            Unavailable: the memory does not answer.
        """
        deadline = Deadline.after(ANSWER_S)
        principal = await self._principal(author, name, deadline)
        wanted = limit + 1
        lines = None
        while lines is None:
            request = HistoryRequest(limit=wanted, before_id=before_id)
            try:
                lines = await self._memory.history(principal, request, deadline=deadline)
            except TooLarge:
                if wanted == LEAST_LINES:
                    raise
                wanted = max(LEAST_LINES, wanted // 2)
        if not lines and before_id is None:
            raise NotFound("no such conversation", field="conversation_id")
        if len(lines) < wanted:
            return Page(lines, None)
        return Page(lines[1:], lines[1])

    async def forget(self, author: Author, name: str) -> None:
        """Erase the lines of a conversation; nothing happens when there is none.

        Raises:
            SenderRefused: the author is not let in.
            Unavailable: the memory does not answer; asking again is safe.
        """
        deadline = Deadline.after(ANSWER_S)
        principal = await self._principal(author, name, deadline)
        await self._memory.forget(principal, deadline=deadline)

    async def _principal(self, author: Author, name: str, deadline: Deadline) -> Principal:
        submission = api_submission(author, name)
        try:
            admitted = await self._admission(submission, self._seal(submission), deadline=deadline)
        except DeadlineExceeded as exc:
            raise Unavailable("it could not be told in time who asks") from exc
        return admitted.principal

    def _is_named(self, author: Author, summary: ConversationSummary) -> bool:
        if summary.name is None:
            return False
        place = api_place(author, summary.name)
        return self._place_id(author.tenant, API, place) == summary.id
