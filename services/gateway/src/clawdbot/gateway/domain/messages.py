"""What is true of messages at the edge, whatever carries them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from clawdbot.schema.errors import ClawdbotError, Conflict, Internal, from_wire
from clawdbot.schema.ids import Channel, Tenant
from clawdbot.schema.messages import Attachment, Delta, InboundMessage, OutboundMessage, ReplyKind
from clawdbot.schema.principal import Principal, Scope

WEBHOOK = Channel("webhook")
API = Channel("api")
OPENAI = Channel("openai")
"""Users whom a holder of a token speaks for, through the OpenAI-compatible API."""

DELEGABLE = frozenset({Scope.CHAT, Scope.MEMORY_READ, Scope.MEMORY_WRITE})
"""What may travel with a message: whoever works on it never approves or administers."""
WEBHOOK_SCOPES = DELEGABLE | {Scope.APPROVE}
"""What a signed webhook may do for its senders; they answer what was asked for themselves."""


class IdReused(Conflict):
    """The sender's own id already names another message."""

    code: ClassVar[str] = "id_reused"


@dataclass(frozen=True)
class RequestKey:
    """What its sender gave a request, so that sending it again does nothing more."""

    holder: str
    """Whose key it is, within tenant and channel."""
    key: str
    body_sha256: bytes
    """Digest of the request's body."""
    names_message: bool = True
    """Whether it decides which message the request is. A header that is not signed must not: under
    another key, what somebody captured would be another message."""


@dataclass(frozen=True)
class Submission:
    """A verified request in one form, before it has ids of ours."""

    tenant: Tenant
    channel: Channel
    platform: str
    sender_id: str
    scopes: frozenset[Scope]
    content: str
    place: tuple[str, ...]
    """What makes the conversation: the outside's own names for where it happened."""
    own_id: str | None
    """The sender's id of the message, unique within its place."""
    fallback_id: str
    """Stands for the message when the sender gave no id."""
    timestamp: int | None = None
    """Unix seconds by the sender's clock; None means the moment of acceptance."""
    attachments: tuple[Attachment, ...] = ()
    thread_id: str | None = None
    reply_to: bytes | None = None
    seals_reply: bool = False
    """Whether `reply_to` holds a token, so that it must not travel readable."""
    in_group: bool = False
    """Whether others than the sender read the reply."""
    conversation_name: str | None = None
    """The conversation as its user calls it, where they do."""
    request_key: RequestKey | None = None
    """Set when the request may be repeated under a key."""

    @property
    def event_id(self) -> str:
        """What is the same for every repetition of this message and for no other message."""
        if self.own_id is None:
            return framed("once", self.tenant, *self.place, self.fallback_id)
        return framed("id", self.tenant, *self.place, self.own_id)


@dataclass(frozen=True)
class Envelope:
    """A message of ours, and on whose behalf it travels."""

    message: InboundMessage
    principal: Principal


@dataclass(frozen=True)
class Accepted:
    """A message that the broker keeps."""

    message: InboundMessage
    is_new: bool
    """False when it was accepted before and this is a repetition."""


@dataclass(frozen=True)
class ReplyPart:
    """As much of a reply as a platform takes at once."""

    reply: OutboundMessage
    text: str
    index: int
    """0 for the first."""
    count: int
    idempotency_key: str
    """26 characters of `a-z2-7`: the same at every attempt, another one for every part."""

    @property
    def is_last(self) -> bool:
        """Whether the reply's attachments and buttons go with it."""
        return self.index == self.count - 1


@dataclass(frozen=True)
class Waiting:
    """Nothing happened for a while; the answer is still awaited."""


ChatEvent = Accepted | Delta | Waiting | OutboundMessage
"""`Accepted` first, then deltas and waits, then one `OutboundMessage` as the last."""


class MessageState(StrEnum):
    """Where a message stands for whoever sent it."""

    QUEUED = "queued"
    ANSWERED = "answered"
    FAILED = "failed"


@dataclass(frozen=True)
class Reader:
    """Who asks how a message stands."""

    tenant: Tenant
    channel: Channel | None = None
    """Only messages of this channel; None means any."""
    sender_id: str | None = None
    """Only messages of this sender; None means any."""

    def may_read(self, message: InboundMessage) -> bool:
        """Return whether `message` is any of this reader's business."""
        return (
            message.tenant == self.tenant
            and self.channel in {None, message.channel}
            and self.sender_id in {None, message.sender_id}
        )


def framed(*parts: str) -> str:
    """Return text that only these parts in this order give."""
    return json.dumps(parts)


def place_of(
    conversation_id: str | None, sender_id: str, thread_id: str | None
) -> tuple[str, str, str]:
    """Return the place of a message whose sender may name a conversation.

    A conversation that is called like a sender is not the one with that sender.
    """
    if conversation_id is None:
        return "with", sender_id, thread_id or ""
    return "in", conversation_id, thread_id or ""


def says_the_same(kept: InboundMessage, repeated: Envelope, *, is_dated: bool) -> bool:
    """Return whether `repeated` asks what `kept` asked.

    Args:
        kept: what the broker stored under the id.
        repeated: what came now.
        is_dated: whether the sender gave the time; the gateway's own differs at every attempt.
    """
    # What came of a control word is not what was said; what is called by a name has its id, too.
    ours = {"accepted_at_ms", "deadline_ms", "control", "conversation_name"}
    if not is_dated:
        ours.add("timestamp")
    return kept.model_dump(exclude=ours) == repeated.message.model_dump(exclude=ours)


def error_of(reply: OutboundMessage) -> ClawdbotError | None:
    """Return the error that `reply` reports, or None when it is an answer."""
    if reply.kind is not ReplyKind.ERROR:
        return None
    told = reply.metadata.error
    return Internal("internal error") if told is None else from_wire(told)
