"""What is decided for chat platforms: all of a request kept or none, replies sent in parts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from clawdbot.gateway.domain.deliveries import AnswerLost, piece_key
from clawdbot.gateway.domain.messages import Accepted, Envelope, IdReused, ReplyPart, Submission
from clawdbot.gateway.domain.senders import SenderRefused, TurnedAway
from clawdbot.gateway.domain.splitting import TextLimit, split
from clawdbot.gateway.handlers.messages import Accept
from clawdbot.gateway.handlers.reply_progress import ReplyProgress, ReplyRecords
from clawdbot.gateway.ports import Live, ReplySeal, Sender
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.delivery import Delivery
from clawdbot.schema.errors import ClawdbotError, ErrorReply, Overloaded, Rejected
from clawdbot.schema.messages import OutboundMessage

log = logging.getLogger(__name__)

R = TypeVar("R")

SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 15.0
"""What a reply may wait between two parts; a longer wait is the consumer's."""


class Receive:
    """Has the messages of one request kept, each once.

    Args:
        accept: keeps them.
        seal: for addresses that hold a token.
        live: told of every new message, so that its answer can be shown while it is written.
    """

    def __init__(self, accept: Accept, seal: ReplySeal, live: Live | None = None) -> None:
        self._accept = accept
        self._seal = seal
        self._live = live

    async def __call__(
        self, submissions: Sequence[Submission], *, deadline: Deadline
    ) -> tuple[Accepted | TurnedAway, ...]:
        """Return the messages once all of them are kept, in the order given.

        Those of senders who are not let in are not kept, which is no error here: a platform would
        send the whole request again. An id that was used before stands for the first message of
        that id, whatever it says now.

        Raises:
            Unavailable: it is not certain that all are kept; sending the request again is safe.
        """
        return tuple([await self._keep(submission, deadline) for submission in submissions])

    async def _keep(self, submission: Submission, deadline: Deadline) -> Accepted | TurnedAway:
        envelope = self._accept.envelope(submission)
        message = envelope.message
        if submission.seals_reply and message.reply_to is not None:
            sealed = self._seal.close(message.reply_to, message.channel, message.conversation_id)
            message = message.model_copy(update={"reply_to": sealed})
            envelope = Envelope(message, envelope.principal)
        try:
            accepted = await self._accept.keep(submission, envelope, deadline=deadline)
        except IdReused:
            return Accepted(message, is_new=False)
        except SenderRefused as exc:
            return TurnedAway(exc.code)
        if self._live is not None and accepted.is_new:
            self._live.begin(accepted.message)
        return accepted


class DeliverParts:
    """Sends stored replies to a platform; an `OrderedHandler[OutboundMessage]`.

    After a failure in the middle of a reply it goes on with the part that failed, in whatever
    process. A part that may show, since its sender died or its answer was lost, is sent again
    under the same key; where the platform knows no keys, once and not more often. A reply of one
    part with a key costs no record, unless somebody may draft it.
    """

    def __init__(self, sender: Sender, limit: TextLimit, records: ReplyRecords) -> None:
        self._sender = sender
        self._limit = limit
        self._records = records

    async def handle(self, delivery: Delivery[OutboundMessage]) -> None:
        """Send the parts that were not sent yet; an error decides whether it is tried again."""
        parts = self._parts(delivery.message)
        progress = await self._records.open(delivery)
        begin = progress.state.sent
        for index in range(begin, len(parts)):
            step = _Step(self._sender, progress, delivery.deadline, may_wait=index > begin)
            await step.send(parts[index])

    def _parts(self, reply: OutboundMessage) -> list[ReplyPart]:
        texts = split(reply.content, self._limit)
        if not texts and reply.attachments:
            texts = ("",)
        count = len(texts)
        return [
            ReplyPart(reply, text, index, count, piece_key(reply, index))
            for index, text in enumerate(texts)
        ]

    async def given_up(self, delivery: Delivery[OutboundMessage], error: ErrorReply) -> None:
        """Note that the rest of a reply will not arrive; it is a dead letter now."""
        log.error(
            "reply not delivered",
            extra={
                "message_id": delivery.message.message_id,
                "channel": delivery.message.channel,
                "code": error.code,
                "parts_sent": self._records.forget(delivery),
            },
        )


class _Step:
    """One part of a reply, from what is known of it to its place in the conversation."""

    def __init__(
        self, sender: Sender, progress: ReplyProgress, deadline: Deadline, *, may_wait: bool
    ) -> None:
        self._sender = sender
        self._progress = progress
        self._deadline = deadline
        self._may_wait = may_wait

    async def send(self, part: ReplyPart) -> None:
        """Have `part` show, and record that it does."""
        is_draft = part.index == 0 and self._progress.state.draft_id is not None
        if is_draft and not await self._edited(self._progress.state.draft_id or "", part):
            self._progress.without_draft()
            # Under its own key the platform would answer with the message that is gone.
            key = piece_key(part.reply, 0, "anew")
            part = ReplyPart(part.reply, part.text, 0, part.count, key)
            is_draft = False
        if is_draft:
            self._progress.shown()
        elif self._sender.traits(part).shows_once:
            await self._send_keyed(part)
        else:
            await self._send_announced(part)
        await self._record(part)

    async def _edited(self, sent_id: str, part: ReplyPart) -> bool:
        """Return whether the message `sent_id` is still there, and is `part` now."""
        try:
            await self._paced(lambda: self._sender.edit(sent_id, part, deadline=self._deadline))
        except Rejected as exc:
            log.info("draft cannot be completed", extra={"reason": exc.message})
            return False
        return True

    async def _send_keyed(self, part: ReplyPart) -> None:
        may_hold_draft = self._progress.state.doubts > 0
        sent_id = await self._paced(lambda: self._sender.send(part, deadline=self._deadline))
        if may_hold_draft and sent_id is not None:
            # The key may have led to a draft of which only the platform knew.
            await self._edited(sent_id, part)
        self._progress.shown()

    async def _send_announced(self, part: ReplyPart) -> None:
        await self._progress.announce(self._deadline)
        try:
            await self._paced(lambda: self._sender.send(part, deadline=self._deadline))
        except AnswerLost:
            raise
        except ClawdbotError:
            await self._progress.not_shown(self._deadline)
            raise
        self._progress.shown()

    async def _record(self, part: ReplyPart) -> None:
        is_keyed = self._sender.traits(part).shows_once
        # What has a key may be repeated at the end, but not from the beginning; of what has none
        # the next part's announcement says that it shows.
        if part.is_last is not is_keyed:
            await self._progress.record_if_possible(self._deadline)

    async def _paced(self, call: Callable[[], Awaitable[R]]) -> R:
        while True:
            try:
                return await call()
            except Overloaded as exc:
                # Attempts are few: a long reply would use them up against the platform's pace.
                pause_s = max(exc.retry_after_s, SHORTEST_PAUSE_S)
                if not self._may_wait or pause_s > min(
                    LONGEST_PAUSE_S, self._deadline.remaining_s()
                ):
                    raise
            await asyncio.sleep(pause_s)
