"""What a person says, what is answered, and what a turn leaves behind."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from clawdbot.schema.blobs import BlobRef
from clawdbot.schema.controls import Control
from clawdbot.schema.errors import ErrorReply
from clawdbot.schema.executor import Approval
from clawdbot.schema.ids import Channel, ConversationId, MessageId, Tenant
from clawdbot.schema.wire import Wire

MAX_CONTENT_CHARS = 64_000
"""Longest text of one message; every platform we know stays far below."""
MAX_ATTACHMENTS = 32


class Attachment(Wire):
    """A file that came with a message, or goes with a reply."""

    SCHEMA = "attachment/1"

    type: str = Field(max_length=64)
    """`image`, `audio`, `video`, `file`, or what the platform calls it."""
    url: str = Field(max_length=4096)
    """Where it can be fetched; never a URL that holds a token of ours."""
    name: str | None = Field(default=None, max_length=255)
    media_type: str | None = Field(default=None, max_length=255)
    blob: BlobRef | None = None
    """Where its content lies in the object store; then `url` may be empty."""


class InboundMessage(Wire):
    """The same record for every message, whatever it came from.

    The first five fields are public: users know their names. The rest is routing.
    """

    SCHEMA = "inbound_message/1"

    platform: str = Field(min_length=1, max_length=64)
    sender_id: str = Field(min_length=1, max_length=256)
    content: str = Field(max_length=MAX_CONTENT_CHARS)
    timestamp: int = Field(ge=0, le=253_402_300_799)
    """When it was said, Unix seconds, by the platform's clock."""
    attachments: tuple[Attachment, ...] = Field(default=(), max_length=MAX_ATTACHMENTS)

    message_id: MessageId
    tenant: Tenant
    conversation_id: ConversationId
    channel: Channel
    """The platform account it came by, and its reply goes back by."""
    conversation_name: str | None = Field(default=None, max_length=256)
    """The conversation as its user calls it, where they do; its id cannot be read back."""
    thread_id: str | None = Field(default=None, max_length=256)
    reply_to: bytes | None = Field(default=None, max_length=16_384)
    """The channel's own reply address; opaque to everyone else, encrypted if it holds a token."""
    control: Control | None = None
    """Set when this was said to the system and not to the assistant; no model sees it then."""
    accepted_at_ms: int
    """When the gateway accepted it, Unix milliseconds."""
    deadline_ms: int
    """After this nobody wants the answer any more, Unix milliseconds."""


class Usage(Wire):
    """Tokens that one answer cost, counted by the model's own tokenizer."""

    SCHEMA = "usage/1"

    prompt_tokens: int
    completion_tokens: int


class Citation(Wire):
    """A memory that stood in the prompt of an answer."""

    SCHEMA = "citation/1"

    memory_id: str
    content: str
    score: float
    """Fused score in 0..1; comparable only within one recall."""


class ReplyKind(StrEnum):
    """What an outbound message is to its reader."""

    REPLY = "reply"
    ERROR = "error"


class ReplyMetadata(Wire):
    """What a developer or SRE wants to know of an answer."""

    SCHEMA = "reply_metadata/1"

    model: str | None = None
    usage: Usage | None = None
    finish_reason: str | None = None
    recalled: tuple[Citation, ...] = ()
    files_read: tuple[str, ...] = ()
    """Names of the attached files whose text stood in the prompt of an answer."""
    instruction: str | None = None
    """The executor's instruction that this answer reports on."""
    error: ErrorReply | None = None
    trace_id: str | None = None


class OutboundMessage(Wire):
    """One part of what a person gets to read."""

    SCHEMA = "outbound_message/1"

    channel: Channel
    tenant: Tenant
    conversation_id: ConversationId
    message_id: MessageId
    """The message that this answers."""
    part: int = 0
    is_final: bool = True
    kind: ReplyKind = ReplyKind.REPLY
    content: str
    attachments: tuple[Attachment, ...] = ()
    approval: Approval | None = None
    """What the reader has to approve or deny; `content` says how, in words."""
    metadata: ReplyMetadata = ReplyMetadata()
    thread_id: str | None = None
    reply_to: bytes | None = None
    created_at_ms: int


class Delta(Wire):
    """A few characters of a reply that is being written; broadcast, never stored.

    `index` counts from 0; a delta with index 0 starts the text anew, since a turn that another
    worker took over is written again.
    """

    SCHEMA = "delta/1"

    message_id: MessageId
    index: int
    text: str


class DeltaEnd(Wire):
    """The reply is complete and stored; whoever missed a delta reads it from there."""

    SCHEMA = "delta_end/1"

    message_id: MessageId
    count: int
    """How many deltas there were."""
    usage: Usage | None = None


class SignalKind(StrEnum):
    """What whoever holds the turn is told."""

    STOP = "stop"
    STEER = "steer"
    INTERRUPT = "interrupt"


class Signal(Wire):
    """A word to whoever holds the turn of a conversation."""

    SCHEMA = "signal/1"

    kind: SignalKind
    content: str = ""
    conversation_id: ConversationId | None = None
    at_ms: int = 0
    """When the gateway accepted the message that says so, Unix milliseconds: a stop is about what
    was accepted before."""


class TurnStep(Wire):
    """One decision or result of a turn, stored before its effect or the next step."""

    SCHEMA = "turn_step/1"

    name: str
    """What was decided, such as `recall`, `run` or `answer`."""
    schema_name: str
    """`SCHEMA` of the recorded value."""
    value: bytes
    """The recorded value, encoded."""


class CallSignalKind(StrEnum):
    """What the caller of a streamed rpc says while it listens."""

    RENEW = "renew"
    CANCEL = "cancel"


class CallSignal(Wire):
    """Keeps a streamed call alive, or ends it because nobody listens any more."""

    SCHEMA = "call_signal/1"

    kind: CallSignalKind


class DeadLetter(Wire):
    """What was given up on, whole, so that it can be looked at and sent again."""

    SCHEMA = "dead_letter/1"

    stream: str
    sequence: int
    subject: str
    headers: dict[str, str]
    body: bytes
    is_cut: bool = False
    """Whether the body was too large to be kept whole."""
    error: ErrorReply
    attempts: int
    consumer: str
    died_at_ms: int
