"""What the memory service is asked and answers.

Tenant and user are never fields of a request: they come from the verified principal.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, JsonValue

from clawdbot.schema.ids import ConversationId
from clawdbot.schema.messages import MAX_CONTENT_CHARS
from clawdbot.schema.rpc import Rpc
from clawdbot.schema.wire import Wire

SERVICE = "memory"


class MemorySource(StrEnum):
    """Where a memory came from."""

    USER = "user"
    EXTRACTED = "extracted"
    IMPORTED = "imported"
    TOOL = "tool"


class Memory(Wire):
    """Something to keep."""

    SCHEMA = "memory/1"

    id: str = Field(min_length=1, max_length=64)
    """Derived from what caused it, so that remembering twice changes nothing."""
    content: str = Field(min_length=1, max_length=MAX_CONTENT_CHARS)
    created_at_ms: int
    kind: str = Field(default="fact", max_length=32)
    source: MemorySource = MemorySource.USER
    sensitive: bool = False
    metadata: dict[str, JsonValue] = {}


class RememberRequest(Wire):
    """Memories to keep; each id is stored once."""

    SCHEMA = "remember_request/1"

    memories: tuple[Memory, ...] = Field(min_length=1, max_length=256)


class RememberReply(Wire):
    """How many were new, and a token with which a read may demand to see them."""

    SCHEMA = "remember_reply/1"

    stored: int
    known: int
    """Ids that were there already, with the same content."""
    revision: str


class RecallRequest(Wire):
    """A question to the user's memories."""

    SCHEMA = "recall_request/1"

    query: str = Field(max_length=MAX_CONTENT_CHARS)
    limit: int = Field(default=8, ge=1, le=100)
    since_ms: int | None = None
    """Only memories made at or after this, Unix milliseconds; applied before ranking."""
    until_ms: int | None = None
    """Only memories made before this, Unix milliseconds; applied before ranking."""
    include_sensitive: bool = False
    min_revision: str | None = None


class ScoreParts(Wire):
    """Why a memory was recalled; each part in 0..1 over the candidates of this recall."""

    SCHEMA = "score_parts/1"

    keyword: float = 0.0
    semantic: float = 0.0


class Recalled(Wire):
    """A memory that answers, with its score."""

    SCHEMA = "recalled/1"

    memory: Memory
    score: float
    parts: ScoreParts = ScoreParts()


class RecallReply(Wire):
    """The best memories, best first."""

    SCHEMA = "recall_reply/1"

    memories: tuple[Recalled, ...] = ()
    degraded: str | None = None
    """What could not be used, for instance the embedder; results are then by keyword alone."""


class ForgetRequest(Wire):
    """Ids to erase."""

    SCHEMA = "forget_request/1"

    ids: tuple[str, ...] = Field(min_length=1, max_length=256)


class ForgetReply(Wire):
    """How many existed."""

    SCHEMA = "forget_reply/1"

    forgotten: int
    revision: str


class ListRequest(Wire):
    """Asks for the user's memories, newest first, a page at a time."""

    SCHEMA = "list_request/1"

    limit: int = Field(default=50, ge=1, le=500)
    before_ms: int | None = None
    """Only memories made before this, or at it with an id below `before_id`."""
    before_id: str | None = None
    """Id of the last memory of the page before, with `before_ms` its time."""


class ListReply(Wire):
    """One page."""

    SCHEMA = "list_reply/1"

    memories: tuple[Memory, ...]


class Speaker(StrEnum):
    """Who said a line of a conversation."""

    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class ConversationLine(Wire):
    """One line of a conversation."""

    SCHEMA = "conversation_line/1"

    id: str = Field(min_length=1, max_length=64)
    """Derived from message and step; appending it twice changes nothing."""
    speaker: Speaker
    content: str = Field(max_length=MAX_CONTENT_CHARS)
    said_at_ms: int


class AppendRequest(Wire):
    """Lines to add to the principal's conversation, in order."""

    SCHEMA = "append_request/1"

    lines: tuple[ConversationLine, ...] = Field(min_length=1, max_length=64)
    conversation_name: str | None = Field(default=None, max_length=256)
    """What the user calls the conversation; kept when it is given for the first time."""


class AppendReply(Wire):
    """How many lines the conversation has now."""

    SCHEMA = "append_reply/1"

    length: int


class HistoryRequest(Wire):
    """Asks for the newest lines of the principal's conversation."""

    SCHEMA = "history_request/1"

    limit: int = Field(default=20, ge=1, le=500)
    before_id: str | None = None
    """Only lines before the one with this id; an unknown id has none before it."""


class HistoryReply(Wire):
    """The newest lines, oldest of them first."""

    SCHEMA = "history_reply/1"

    lines: tuple[ConversationLine, ...]


class ConversationSummary(Wire):
    """What is known of one conversation."""

    SCHEMA = "conversation_summary/1"

    id: ConversationId
    name: str | None = None
    """As its user calls it."""
    length: int
    """How many lines it has."""
    started_at_ms: int
    updated_at_ms: int


class ConversationsRequest(Wire):
    """Asks for the principal's conversations, the latest first, a page at a time."""

    SCHEMA = "conversations_request/1"

    limit: int = Field(default=50, ge=1, le=200)
    before_ms: int | None = None
    """Only conversations that rest since before this, or since it with an id below `before_id`."""
    before_id: str | None = None
    """Id of the last conversation of the page before, with `before_ms` its latest line's time."""


class ConversationsReply(Wire):
    """One page."""

    SCHEMA = "conversations_reply/1"

    conversations: tuple[ConversationSummary, ...]


class ForgetConversationRequest(Wire):
    """Erases the lines of the principal's conversation; memories made from them stay."""

    SCHEMA = "forget_conversation_request/1"


class ForgetConversationReply(Wire):
    """How many lines there were."""

    SCHEMA = "forget_conversation_reply/1"

    lines: int


class EraseRequest(Wire):
    """Erases everything of the principal's user, or of the tenant (scope `admin`)."""

    SCHEMA = "erase_request/1"

    whole_tenant: bool = False


class EraseReply(Wire):
    """What was erased."""

    SCHEMA = "erase_reply/1"

    memories: int
    lines: int
    revision: str


class MemoryChanged(Wire):
    """A hint that a shard moved on; the database is the truth."""

    SCHEMA = "memory_changed/1"

    shard: int
    revision: int
    memory_id: str


REMEMBER = Rpc(SERVICE, "remember", RememberRequest, RememberReply, needs_principal=True)
RECALL = Rpc(SERVICE, "recall", RecallRequest, RecallReply, needs_principal=True)
FORGET = Rpc(SERVICE, "forget", ForgetRequest, ForgetReply, needs_principal=True)
LIST = Rpc(SERVICE, "list", ListRequest, ListReply, needs_principal=True)
APPEND = Rpc(SERVICE, "append", AppendRequest, AppendReply, needs_principal=True)
HISTORY = Rpc(SERVICE, "history", HistoryRequest, HistoryReply, needs_principal=True)
CONVERSATIONS = Rpc(
    SERVICE, "conversations", ConversationsRequest, ConversationsReply, needs_principal=True
)
FORGET_CONVERSATION = Rpc(
    SERVICE,
    "forget_conversation",
    ForgetConversationRequest,
    ForgetConversationReply,
    needs_principal=True,
)
ERASE = Rpc(SERVICE, "erase", EraseRequest, EraseReply, needs_principal=True)
