"""What the gateway decides: accept once, answer whoever waits, deliver to whoever does not."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

from clawdbot.gateway.domain.crowd import Crowd
from clawdbot.gateway.domain.messages import (
    DELEGABLE,
    Accepted,
    ChatEvent,
    Envelope,
    IdReused,
    Reader,
    Submission,
    Waiting,
    framed,
    says_the_same,
)
from clawdbot.gateway.domain.rates import Kind
from clawdbot.gateway.domain.senders import own_user
from clawdbot.gateway.ports import Callback, Heard, Inbox, Listening, Replies, Screen
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.delivery import Delivery
from clawdbot.schema.errors import (
    DeadlineExceeded,
    ErrorReply,
    NotFound,
    Overloaded,
    Unavailable,
)
from clawdbot.schema.ids import TOKEN, Channel, ConversationId, IdKey, MessageId, Tenant
from clawdbot.schema.messages import Delta, InboundMessage, OutboundMessage
from clawdbot.schema.principal import Principal

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """How long the edge waits."""

    publish_s: float = 2.0
    turn_s: float = 3600.0
    chat_s: float = 120.0
    tick_s: float = 5.0
    """How often a waiting chat looks for a stored answer that it did not hear of."""


class Accept:
    """Gives a submission its ids and has it kept, once."""

    def __init__(
        self,
        inbox: Inbox,
        ids: IdKey,
        patience: Patience,
        *,
        screens: Sequence[Screen] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        self._inbox = inbox
        self._ids = ids
        self._patience = patience
        self._screens = screens
        self._now = now

    async def __call__(self, submission: Submission) -> Accepted:
        """Return the message once it is kept.

        Raises:
            IdReused: the sender's id names another message already.
            Rejected: a screen refused it.
            Overloaded: a screen asks to wait.
            Unavailable: it is not certain that it is kept; sending it again is safe.
        """
        return await self.keep(submission, self.envelope(submission))

    def envelope(self, submission: Submission) -> Envelope:
        """Return the message that `submission` makes, with its principal."""
        at = self._now()
        tenant, channel = submission.tenant, submission.channel
        message = InboundMessage(
            platform=submission.platform,
            sender_id=submission.sender_id,
            content=submission.content,
            timestamp=int(at) if submission.timestamp is None else submission.timestamp,
            attachments=submission.attachments,
            message_id=self._ids.message(channel, submission.event_id),
            tenant=tenant,
            conversation_id=self.conversation(tenant, channel, submission.place),
            channel=channel,
            conversation_name=submission.conversation_name,
            thread_id=submission.thread_id,
            reply_to=submission.reply_to,
            accepted_at_ms=int(at * 1000),
            deadline_ms=int((at + self._patience.turn_s) * 1000),
        )
        return Envelope(message, self._principal(submission, message))

    def conversation(
        self, tenant: Tenant, channel: Channel, place: tuple[str, ...]
    ) -> ConversationId:
        """Return the id of the conversation at `place`, as `Submission` has it."""
        return self._ids.conversation(tenant, channel, framed(*place))

    async def keep(
        self, submission: Submission, envelope: Envelope, *, deadline: Deadline | None = None
    ) -> Accepted:
        """Have `envelope` kept once every screen let it pass; see `__call__`."""
        publish_s = self._patience.publish_s
        latest = deadline.within(publish_s) if deadline else Deadline.after(publish_s)
        screened = await self.screened(submission, envelope, deadline=latest)
        return await self.store(submission, screened, deadline=latest)

    async def screened(
        self, submission: Submission, envelope: Envelope, *, deadline: Deadline | None = None
    ) -> Envelope:
        """Return what is to be kept of `envelope`; see `__call__`."""
        latest = deadline or Deadline.after(self._patience.publish_s)
        try:
            for screen in self._screens:
                envelope = await screen(submission, envelope, deadline=latest)
        except DeadlineExceeded as exc:
            # Not the answer is late, but the broker: whoever sends again loses nothing.
            raise Unavailable("the message could not be looked at in time") from exc
        return envelope

    async def store(
        self, submission: Submission, envelope: Envelope, *, deadline: Deadline | None = None
    ) -> Accepted:
        """Have what every screen let pass kept; see `__call__`."""
        latest = deadline or Deadline.after(self._patience.publish_s)
        try:
            accepted = await self._inbox.keep(envelope, deadline=latest)
        except DeadlineExceeded as exc:
            raise Unavailable("the message could not be stored in time") from exc
        is_dated = submission.timestamp is not None
        if not accepted.is_new and not says_the_same(accepted.message, envelope, is_dated=is_dated):
            raise IdReused(
                "this message_id already names another message",
                field="message_id",
                fix="use a new message_id for every message of a conversation",
            )
        return accepted

    def _principal(self, submission: Submission, message: InboundMessage) -> Principal:
        return Principal(
            tenant=submission.tenant,
            user=own_user(self._ids, submission.channel, submission.platform, submission.sender_id),
            scopes=submission.scopes & DELEGABLE,
            conversation_id=message.conversation_id,
            channel=submission.channel,
        )


class Converse:
    """Accepts a submission and follows its answer."""

    def __init__(
        self, accept: Accept, replies: Replies, patience: Patience, crowd: Crowd | None = None
    ) -> None:
        self._accept = accept
        self._replies = replies
        self._patience = patience
        self._crowd = crowd or Crowd(Kind.WAITING)

    async def __call__(self, submission: Submission) -> AsyncGenerator[ChatEvent, None]:
        """Yield `Accepted`, then deltas and waits, then the reply.

        Leaving the generator stops listening; the answer is stored all the same.

        Raises:
            DeadlineExceeded: no reply within `patience.chat_s`.
            Overloaded: too many questions of this sender wait already.
        """
        deadline = Deadline.after(self._patience.chat_s)
        envelope = self._accept.envelope(submission)
        sender = f"{submission.tenant}.{envelope.principal.user}"
        with self._crowd.enter(sender):
            # Whoever is sent away needs nobody to listen for them first.
            envelope = await self._accept.screened(submission, envelope)
            # Listening comes before publishing: a fast answer would otherwise be missed.
            async with self._replies.listen(envelope.message) as listening:
                accepted = await self._accept.store(submission, envelope)
                yield accepted
                async for event in self._follow(accepted.message, listening, deadline):
                    yield event

    async def _follow(
        self, message: InboundMessage, listening: Listening, deadline: Deadline
    ) -> AsyncGenerator[ChatEvent, None]:
        reply = await self._stored(message, deadline)
        while reply is None:
            heard = await self._hear(listening, deadline)
            if isinstance(heard, Delta) and heard.message_id == message.message_id:
                yield heard
            elif isinstance(heard, OutboundMessage) and _closes(heard, message):
                reply = heard
            elif heard is None:
                yield Waiting()
                # What is broadcast may be lost; what is stored is not.
                reply = await self._stored(message, deadline)
        yield reply

    async def _stored(self, message: InboundMessage, deadline: Deadline) -> OutboundMessage | None:
        try:
            return await self._replies.answered(message, deadline=deadline)
        except Unavailable:
            # The message is kept, so that the next look may find its answer.
            return None

    async def _hear(self, listening: Listening, deadline: Deadline) -> Heard | None:
        deadline.require()
        soon = deadline.within(self._patience.tick_s)
        try:
            return await listening.next(soon)
        except DeadlineExceeded:
            return None
        except Overloaded:
            # A listener that lost messages says so from now on; only what is stored is left.
            await asyncio.sleep(max(0.0, soon.remaining_s()))
            return None


class Inspect:
    """Says how a message stands."""

    def __init__(self, inbox: Inbox, replies: Replies, patience: Patience) -> None:
        self._inbox = inbox
        self._replies = replies
        self._patience = patience

    async def __call__(self, message_id: str, reader: Reader) -> OutboundMessage | None:
        """Return the reply to the message, or None while it has none.

        Raises:
            NotFound: no such message, or none of the reader's business: nobody can tell which.
        """
        deadline = Deadline.after(self._patience.publish_s)
        message = None
        if TOKEN.fullmatch(message_id):
            message = await self._inbox.find(
                reader.tenant, MessageId(message_id), deadline=deadline
            )
        if message is None or not reader.may_read(message):
            raise NotFound("no such message", fix="it may be older than the broker keeps messages")
        return await self._replies.answered(message, deadline=deadline)


class Deliver:
    """Takes stored replies to a channel's callback; an `OrderedHandler[OutboundMessage]`."""

    def __init__(self, callback: Callback) -> None:
        self._callback = callback

    async def handle(self, delivery: Delivery[OutboundMessage]) -> None:
        """Deliver one reply; an error decides whether it is tried again."""
        await self._callback.post(delivery.message, deadline=delivery.deadline)

    async def given_up(self, delivery: Delivery[OutboundMessage], error: ErrorReply) -> None:
        """Note that a reply will not arrive; it is a dead letter now."""
        log.error(
            "reply not delivered",
            extra={"message_id": delivery.message.message_id, "code": error.code},
        )


def _closes(heard: OutboundMessage, message: InboundMessage) -> bool:
    return heard.message_id == message.message_id and heard.is_final
