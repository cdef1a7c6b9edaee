"""What is decided for chat platforms: all of a request kept or none, replies sent in parts."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence

from clawdbot.gateway.domain.messages import Accepted, Envelope, IdReused, ReplyPart, Submission
from clawdbot.gateway.domain.splitting import TextLimit, split
from clawdbot.gateway.handlers.messages import Accept
from clawdbot.gateway.ports import ReplySeal, Sender
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.delivery import Delivery
from clawdbot.schema.errors import ErrorReply, Overloaded
from clawdbot.schema.ids import derived
from clawdbot.schema.messages import OutboundMessage

log = logging.getLogger(__name__)

REMEMBERED_REPLIES = 4096
"""Replies of which one process knows how much it sent, the latest ones."""
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 15.0
"""What a reply may wait between two parts; a longer wait is the consumer's."""


class Receive:
    """Has the messages of one request kept, each once."""

    def __init__(self, accept: Accept, seal: ReplySeal) -> None:
        self._accept = accept
        self._seal = seal

    async def __call__(
        self, submissions: Sequence[Submission], *, deadline: Deadline
    ) -> tuple[Accepted, ...]:
        """Return the messages once all of them are kept, in the order given.

        An id that was used before stands for the first message of that id, whatever it says now.

        Raises:
            Unavailable: it is not certain that all are kept; sending the request again is safe.
        """
        return tuple([await self._keep(submission, deadline) for submission in submissions])

    async def _keep(self, submission: Submission, deadline: Deadline) -> Accepted:
        envelope = self._accept.envelope(submission)
        message = envelope.message
        if submission.seals_reply and message.reply_to is not None:
            sealed = self._seal.close(message.reply_to, message.channel, message.conversation_id)
            message = message.model_copy(update={"reply_to": sealed})
            envelope = Envelope(message, envelope.principal)
        try:
            return await self._accept.keep(submission, envelope, deadline=deadline)
        except IdReused:
            return Accepted(message, is_new=False)


class DeliverParts:
    """Sends stored replies to a platform; an `OrderedHandler[OutboundMessage]`.

    After a failure in the middle of a reply this process goes on with the part that failed; what
    it sent is remembered beyond the last part, as the broker may not hear that it is done.
    Another process, or this one after a crash, begins with the first: the parts' idempotency keys
    stay the same, and what a platform without such keys shows is repeated.
    """

    def __init__(self, sender: Sender, limit: TextLimit) -> None:
        self._sender = sender
        self._limit = limit
        self._sent: OrderedDict[str, int] = OrderedDict()

    async def handle(self, delivery: Delivery[OutboundMessage]) -> None:
        """Send the parts that were not sent yet; an error decides whether it is tried again."""
        reply = delivery.message
        parts = split(reply.content, self._limit)
        if not parts and reply.attachments:
            parts = ("",)
        begin = self._sent.get(delivery.subject, 0)
        for index in range(begin, len(parts)):
            key = derived(reply.message_id, str(reply.part), str(index))
            part = ReplyPart(reply, parts[index], index, len(parts), key)
            await self._send(part, delivery.deadline, may_wait=index > begin)
            self._remember(delivery.subject, index + 1)

    async def given_up(self, delivery: Delivery[OutboundMessage], error: ErrorReply) -> None:
        """Note that the rest of a reply will not arrive; it is a dead letter now."""
        sent = self._sent.pop(delivery.subject, 0)
        log.error(
            "reply not delivered",
            extra={
                "message_id": delivery.message.message_id,
                "channel": delivery.message.channel,
                "code": error.code,
                "parts_sent": sent,
            },
        )

    async def _send(self, part: ReplyPart, deadline: Deadline, *, may_wait: bool) -> None:
        while True:
            try:
                return await self._sender.send(part, deadline=deadline)
            except Overloaded as exc:
                # Attempts are few: a long reply would use them up against the platform's pace.
                pause_s = max(exc.retry_after_s, SHORTEST_PAUSE_S)
                if not may_wait or pause_s > min(LONGEST_PAUSE_S, deadline.remaining_s()):
                    raise
            await asyncio.sleep(pause_s)

    def _remember(self, subject: str, sent: int) -> None:
        self._sent[subject] = sent
        self._sent.move_to_end(subject)
        if len(self._sent) > REMEMBERED_REPLIES:
            self._sent.popitem(last=False)
