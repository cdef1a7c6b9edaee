"""One reply while it is written: a message that is edited until the stored reply completes it.

The record decides who may touch the message. A draft is announced before it is sent, renews its
record before each edit and gives up when somebody else changed it; every call ends within
`DraftPace.call_s`, which is shorter than `DraftPatience.quiet_s`: what the deliverer takes over is
edited by nobody else any more.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from clawdbot.gateway.domain.deliveries import AnswerLost, draft_of, preview, record_key
from clawdbot.gateway.domain.splitting import TextLimit
from clawdbot.gateway.ports import DeliveryRecords, Sender
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.deliveries import ReplyDelivery
from clawdbot.schema.errors import ClawdbotError, Overloaded, Rejected, Retryable
from clawdbot.schema.messages import Delta, InboundMessage

log = logging.getLogger(__name__)

MOST_EDITS = 15
"""Feishu takes 20 of a message, and the reply needs one."""


@dataclass(frozen=True)
class DraftPace:
    """When a draft is shown and changed, in seconds."""

    first_s: float = 1.0
    """After the first words; an answer that is ready by then needs no draft."""
    edit_s: float = 2.0
    """Between the first edits; each pause is a quarter longer than the one before."""
    call_s: float = 3.0
    """How long a call to the platform may take."""


@dataclass
class Quiet:
    """What one account's drafts share: nobody edits while the platform asks to wait."""

    until: float = 0.0
    """By the event loop's clock."""


@dataclass(frozen=True)
class Line:
    """How one account shows that an answer is being written."""

    sender: Sender
    limit: TextLimit
    edits: bool
    typing_s: float | None
    """How long the platform shows typing; None when it cannot."""
    pace: DraftPace
    quiet: Quiet


class Draft:
    """The message that shows an unfinished reply; owned by one task.

    Args:
        line: where it shows.
        message: what is answered.
        records: decide who may touch the message.
        owner: names this process, otherwise than its deliveries.
    """

    def __init__(
        self, line: Line, message: InboundMessage, records: DeliveryRecords, owner: str
    ) -> None:
        self._line = line
        self._message = message
        self._records = records
        self._key = record_key(message.message_id, 0)
        self._state = ReplyDelivery(owner=owner, is_drafting=True, doubts=1)
        self._revision = 0
        self._text: list[str] = []
        self._expected = 0
        self._shown = ""
        self._edits = 0
        self._due: float | None = None
        self._has_begun = False
        self._is_over = False

    def take(self, delta: Delta) -> None:
        """Go on with the text; after a gap it stands still until it begins anew."""
        if delta.index == 0:
            self._text, self._expected = [], 0
        if delta.index != self._expected:
            return
        self._text.append(delta.text)
        self._expected += 1
        if self._due is None:
            self._due = _now() + self._line.pace.first_s

    def due_in_s(self) -> float | None:
        """Return after how many seconds `show` has something to do; None when it has not."""
        if self._is_over or self._due is None or self._edits > MOST_EDITS:
            return None
        return max(self._due, self._line.quiet.until) - _now()

    async def show(self) -> None:
        """Send what there is of the text, or edit it into what was sent."""
        text = preview("".join(self._text), self._line.limit)
        pause_s = self._line.pace.edit_s * 1.25**self._edits
        self._due = _now() + pause_s
        if not text or text == self._shown:
            return
        self._edits += 1
        # Made before the record is renewed: no call outlives what the record promises.
        deadline = Deadline.after(self._line.pace.call_s)
        try:
            await (self._edit(text, deadline) if self._has_begun else self._begin(text, deadline))
            self._shown = text
        except Overloaded as exc:
            self._line.quiet.until = _now() + exc.retry_after_s
        except Rejected as exc:
            log.info("draft given up", extra={"reason": exc.message})
            self._is_over = True
        except Retryable as exc:
            log.info("draft not shown", extra={"reason": exc.message})

    async def _begin(self, text: str, deadline: Deadline) -> None:
        part = draft_of(self._message, text)
        # Whatever goes wrong from here on, there is no second beginning.
        self._is_over = True
        if not self._line.sender.traits(part).edits:
            return
        self._has_begun = True
        try:
            if not await self._write(deadline):
                return
            sent_id = await self._line.sender.send(part, deadline=deadline)
        except AnswerLost:
            raise
        except ClawdbotError:
            # It does not show. Whoever delivers the reply sends it as if nobody had tried.
            self._state = self._state.model_copy(update={"doubts": 0})
            raise
        if sent_id is not None:
            self._state = self._state.model_copy(update={"draft_id": sent_id, "doubts": 0})
            self._is_over = not await self._write(deadline)

    async def _edit(self, text: str, deadline: Deadline) -> None:
        if not await self._write(deadline):
            self._is_over = True
            return
        part = draft_of(self._message, text)
        await self._line.sender.edit(self._state.draft_id or "", part, deadline=deadline)

    async def close(self) -> None:
        """Leave the message to whoever delivers the reply."""
        if not self._has_begun:
            return
        self._state = self._state.model_copy(update={"is_drafting": False})
        deadline = Deadline.after(self._line.pace.call_s)
        try:
            if not await self._write(deadline):
                await self._close_again(deadline)
        except Retryable as exc:
            # The deliverer waits a little longer.
            log.info("draft not closed", extra={"reason": exc.message})

    async def _close_again(self, deadline: Deadline) -> None:
        """Close a record that was written although the broker did not say so."""
        noted = await self._records.read(self._key, deadline=deadline)
        value = noted.value if noted else None
        if noted and value and value.is_drafting and value.owner == self._state.owner:
            self._revision = noted.revision
            await self._write(deadline)

    async def _write(self, deadline: Deadline) -> bool:
        """Return whether the record is still ours, and now says what this draft is."""
        revision = await self._records.write(
            self._key, self._state, self._revision, deadline=deadline
        )
        self._revision = revision or self._revision
        return revision is not None


def _now() -> float:
    return asyncio.get_running_loop().time()
