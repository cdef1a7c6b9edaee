"""What the gateway's handlers need of the world, each with a recording fake."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from clawdbot.gateway.domain.deliveries import Noted, SendTraits
from clawdbot.gateway.domain.files import OpenFile
from clawdbot.gateway.domain.messages import Accepted, Envelope, ReplyPart, Submission
from clawdbot.schema.blobs import BlobRef
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.deliveries import ReplyDelivery
from clawdbot.schema.errors import ClawdbotError, DeadlineExceeded
from clawdbot.schema.executor import Approval, ApprovalState, Decision
from clawdbot.schema.ids import Channel, ConversationId, MessageId, Tenant
from clawdbot.schema.inference import (
    ChatDelta,
    ChatDone,
    ChatRequest,
    EmbedReply,
    EmbedRequest,
    ModelState,
    ModelStatus,
    Tensor,
)
from clawdbot.schema.messages import Delta, DeltaEnd, InboundMessage, OutboundMessage, Usage
from clawdbot.schema.principal import Principal

Heard = Delta | DeltaEnd | OutboundMessage


class Inbox(Protocol):
    """Keeps what was accepted."""

    async def keep(self, envelope: Envelope, *, deadline: Deadline) -> Accepted:
        """Store the message once; of a repetition, return what was kept the first time.

        Raises:
            Unavailable: it is not certain that the message is kept.
        """
        ...

    async def find(
        self, tenant: Tenant, message_id: MessageId, *, deadline: Deadline
    ) -> InboundMessage | None:
        """Return the message of that id, or None when it is not kept (any more)."""
        ...


class Screen(Protocol):
    """Looks at a verified message before it is kept, and again each time that it is repeated."""

    async def __call__(
        self, submission: Submission, envelope: Envelope, *, deadline: Deadline
    ) -> Envelope:
        """Return what is to be kept: `envelope`, or the same message with more known about it.

        Ids and conversation stay, since somebody may listen for them already.

        Raises:
            Rejected: it must not be kept.
            Overloaded: not now.
            Unavailable: that cannot be told now.
        """
        ...


class Listening(Protocol):
    """Hears what is said about one message."""

    async def next(self, deadline: Deadline) -> Heard:
        """Return what comes next.

        Raises:
            DeadlineExceeded: nothing came in time.
            Overloaded: something was missed.
        """
        ...


class Replies(Protocol):
    """Answers, while they are written and once they are stored."""

    def listen(self, message: InboundMessage) -> AbstractAsyncContextManager[Listening]:
        """Hear the deltas of the message's conversation and the replies to it, from now on."""
        ...

    async def answered(
        self, message: InboundMessage, *, deadline: Deadline
    ) -> OutboundMessage | None:
        """Return the stored final reply to `message`, or None while there is none."""
        ...


class Callback(Protocol):
    """Where replies to a channel's messages go."""

    async def post(self, reply: OutboundMessage, *, deadline: Deadline) -> None:
        """Deliver `reply`.

        Raises:
            Retryable: it may work later.
            Rejected: it never will.
        """
        ...


class ReplySeal(Protocol):
    """Keeps reply addresses that hold a token unreadable on their way through the stack."""

    def close(self, address: bytes, channel: Channel, conversation_id: ConversationId) -> bytes:
        """Return `address` so that only replies in that conversation of `channel` reach it."""
        ...


class Sender(Protocol):
    """Sends to one account of a platform."""

    def traits(self, part: ReplyPart) -> SendTraits:
        """Return what may be expected of sending `part`; nothing if it has no address."""
        ...

    async def send(self, part: ReplyPart, *, deadline: Deadline) -> str | None:
        """Send `part` and return the platform's id of it, where there is one.

        Raises:
            AnswerLost: it may show.
            Retryable: it may work later; it does not show.
            Rejected: it never will.
        """
        ...

    async def edit(self, sent_id: str, part: ReplyPart, *, deadline: Deadline) -> None:
        """Make the message `sent_id` what `part` is; harmless when it is that already.

        Raises:
            Retryable: it may work later.
            Rejected: it never will; the message may be gone.
        """
        ...

    async def show_typing(self, part: ReplyPart, *, deadline: Deadline) -> None:
        """Show for some seconds that the reply is being written; raises as `send`."""
        ...


class DeliveryRecords(Protocol):
    """Remembers how far each reply is sent, beyond the life of a process."""

    async def read(self, key: str, *, deadline: Deadline) -> Noted | None:
        """Return the record, or None; raises Unavailable."""
        ...

    async def write(
        self, key: str, value: ReplyDelivery, revision: int, *, deadline: Deadline
    ) -> int | None:
        """Replace the record at `revision`, 0 for none; return the new revision.

        None means that somebody else changed it. A write that raises Unavailable may be done.
        """
        ...


class Live(Protocol):
    """Shows that an answer is being written, as a courtesy."""

    def begin(self, message: InboundMessage) -> None:
        """Show it for the reply to `message`, if there is room; returns at once."""
        ...


class Decisions(Protocol):
    """Where approvals are answered."""

    async def decide(
        self, principal: Principal, code: str, decision: Decision, *, deadline: Deadline
    ) -> Approval:
        """Return the approval under `code` after the answer; the same answer may come again.

        Raises:
            Rejected: no such approval, or none that this principal can answer now.
            Retryable: it may work later.
        """
        ...


class StopSignals(Protocol):
    """Whoever works on conversations, and may be told to stop."""

    async def stop(self, said: InboundMessage) -> None:
        """Tell that what was asked in the conversation before `said` is not wanted any more.

        Raises:
            Unavailable: nobody could be told.
        """
        ...


class Inference(Protocol):
    """Models without memory."""

    async def models(self, *, deadline: Deadline) -> tuple[ModelStatus, ...]:
        """Return where each model stands."""
        ...

    def chat(
        self, model: str, request: ChatRequest, *, deadline: Deadline
    ) -> AsyncGenerator[ChatDelta | ChatDone, None]:
        """Yield the answer as it is written, then the whole of it; leaving ends the work."""
        ...

    async def embed(self, model: str, request: EmbedRequest, *, deadline: Deadline) -> EmbedReply:
        """Return one vector per text, in the order given."""
        ...


class Files(Protocol):
    """Files that came with messages, wherever they lie."""

    def open(
        self, message: InboundMessage, index: int, *, max_bytes: int, deadline: Deadline
    ) -> AbstractAsyncContextManager[OpenFile]:
        """Yield the file that attachment `index` of `message` names.

        Raises:
            Rejected: it cannot be had, such as TooLarge, NotFound or Forbidden.
            Retryable: it may work later.
        """
        ...


class BlobStore(Protocol):
    """Keeps what is larger than a message may be."""

    async def put(
        self, content: AsyncIterable[bytes], media_type: str, *, deadline: Deadline
    ) -> BlobRef:
        """Store `content` and return its name.

        Raises:
            TooLarge: it is longer than anything that is kept.
            Retryable: not now.
        """
        ...


class RecordingInbox:
    """Keeps messages in a dict.

    Attributes:
        kept: everything stored, by message id.
        principals: on whose behalf, by message id.
        failure: raised by every call while it is set.
    """

    def __init__(self) -> None:
        self.kept: dict[str, InboundMessage] = {}
        self.principals: dict[str, Principal] = {}
        self.failure: ClawdbotError | None = None

    async def keep(self, envelope: Envelope, *, deadline: Deadline) -> Accepted:
        """Store it unless its id is taken."""
        deadline.require()
        if self.failure is not None:
            raise self.failure
        message = envelope.message
        if message.message_id in self.kept:
            return Accepted(self.kept[message.message_id], is_new=False)
        self.kept[message.message_id] = message
        self.principals[message.message_id] = envelope.principal
        return Accepted(message, is_new=True)

    async def find(
        self, tenant: Tenant, message_id: MessageId, *, deadline: Deadline
    ) -> InboundMessage | None:
        """Look it up."""
        deadline.require()
        if self.failure is not None:
            raise self.failure
        message = self.kept.get(message_id)
        return message if message is not None and message.tenant == tenant else None


class RecordingReplies:
    """Says what a test tells it to.

    Attributes:
        stored: final replies by message id.
        script: what every listener hears, in this order, before it hears nothing; an error is
            raised instead.
        listeners: how many listen at this moment.
    """

    def __init__(self) -> None:
        self.stored: dict[str, OutboundMessage] = {}
        self.script: list[Heard | ClawdbotError] = []
        self.listeners = 0

    @asynccontextmanager
    async def listen(self, message: InboundMessage) -> AsyncIterator[ScriptedListening]:  # noqa: ARG002 -- every listener hears the same
        """Hear the script."""
        self.listeners += 1
        try:
            yield ScriptedListening(list(self.script))
        finally:
            self.listeners -= 1

    async def answered(
        self, message: InboundMessage, *, deadline: Deadline
    ) -> OutboundMessage | None:
        """Look it up."""
        deadline.require()
        return self.stored.get(message.message_id)


class ScriptedListening:
    """Hears a list, then nothing."""

    def __init__(self, script: list[Heard | ClawdbotError]) -> None:
        self._script = script

    async def next(self, deadline: Deadline) -> Heard:
        """Return the next of the script."""
        if not self._script:
            await asyncio.sleep(max(0.0, deadline.remaining_s()))
            raise DeadlineExceeded("the script is over")
        heard = self._script.pop(0)
        if isinstance(heard, ClawdbotError):
            raise heard
        return heard


class RecordingCallback:
    """Notes what would be delivered.

    Attributes:
        delivered: the replies, in order.
        failure: raised by every call while it is set.
    """

    def __init__(self) -> None:
        self.delivered: list[OutboundMessage] = []
        self.failure: ClawdbotError | None = None

    async def post(self, reply: OutboundMessage, *, deadline: Deadline) -> None:
        """Note it."""
        deadline.require()
        if self.failure is not None:
            raise self.failure
        self.delivered.append(reply)


class ReversingSeal:
    """Seals by writing backwards, so that a test sees what was sealed."""

    def close(self, address: bytes, channel: Channel, conversation_id: ConversationId) -> bytes:  # noqa: ARG002 -- bound to nothing
        """Return `address` backwards."""
        return address[::-1]


class RecordingDecisions:
    """Gives every answer that it is asked for.

    Attributes:
        asked: principal, code and decision of each call, in order.
        failure: raised by every call while it is set.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[Principal, str, Decision]] = []
        self.failure: ClawdbotError | None = None

    async def decide(
        self, principal: Principal, code: str, decision: Decision, *, deadline: Deadline
    ) -> Approval:
        """Note it."""
        deadline.require()
        self.asked.append((principal, code, decision))
        if self.failure is not None:
            raise self.failure
        is_yes = decision is Decision.APPROVE
        state = ApprovalState.APPROVED if is_yes else ApprovalState.DENIED
        return Approval(code=code, plan_hash="0" * 64, rendered="", state=state, expires_at_ms=0)


class RecordingStopSignals:
    """Notes what was to be stopped.

    Attributes:
        said: the messages that asked for it, in order.
        failure: raised by every call while it is set.
    """

    def __init__(self) -> None:
        self.said: list[InboundMessage] = []
        self.failure: ClawdbotError | None = None

    async def stop(self, said: InboundMessage) -> None:
        """Note it."""
        if self.failure is not None:
            raise self.failure
        self.said.append(said)


class RecordingInference:
    """Answers what a test tells it to; knows the models `toy` and `toy-embedding`.

    Attributes:
        script: what every chat yields; an error is raised instead.
        asked: the requests, in order.
        open_chats: chats that are being answered at this moment.
        failure: raised by every call while it is set.
    """

    def __init__(self) -> None:
        self.script: list[ChatDelta | ChatDone | ClawdbotError] = []
        self.asked: list[ChatRequest | EmbedRequest] = []
        self.states = {"toy": ModelState.READY, "toy-embedding": ModelState.READY}
        self.open_chats = 0
        self.failure: ClawdbotError | None = None

    async def models(self, *, deadline: Deadline) -> tuple[ModelStatus, ...]:
        """Return the two models."""
        deadline.require()
        if self.failure is not None:
            raise self.failure
        kinds = {"toy": "chat", "toy-embedding": "embedding"}
        return tuple(
            ModelStatus(name=name, kind=kinds[name], state=state)
            for name, state in self.states.items()
        )

    async def chat(
        self, model: str, request: ChatRequest, *, deadline: Deadline
    ) -> AsyncGenerator[ChatDelta | ChatDone, None]:
        """Yield the script; when it is over without an end, nothing until the deadline."""
        del model
        self.asked.append(request)
        self.open_chats += 1
        try:
            for item in self.script:
                if isinstance(item, ClawdbotError):
                    raise item
                yield item
            if not self.script or not isinstance(self.script[-1], ChatDone):
                await asyncio.sleep(max(0.0, deadline.remaining_s()))
                raise DeadlineExceeded("the script is over")
        finally:
            self.open_chats -= 1

    async def embed(self, model: str, request: EmbedRequest, *, deadline: Deadline) -> EmbedReply:
        """Return the vector (1, 0.5) for every text; each character is a token."""
        del model
        deadline.require()
        self.asked.append(request)
        count = len(request.texts)
        data = struct.pack("<2f", 1.0, 0.5) * count
        vectors = Tensor(dtype="float32", shape=(count, 2), data=data)
        tokens = sum(map(len, request.texts))
        usage = Usage(prompt_tokens=tokens, completion_tokens=0)
        return EmbedReply(vectors=vectors, model="toy-embedding/1/f32", usage=usage)
