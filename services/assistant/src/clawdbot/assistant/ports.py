"""What the assistant needs from the world; `adapters.recording` has a fake of each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from clawdbot.assistant.domain.turn import Mandate
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.delivery import Delivery
from clawdbot.schema.errors import ErrorReply
from clawdbot.schema.executor import (
    CancelReply,
    CancelRequest,
    PlanReply,
    PlanRequest,
    RunReply,
    RunRequest,
)
from clawdbot.schema.ids import ConversationId
from clawdbot.schema.inference import ChatDone, ChatRequest, ChatTurn, CountReply
from clawdbot.schema.memory import ConversationLine, Memory, RecallReply
from clawdbot.schema.messages import Delta, DeltaEnd, InboundMessage, OutboundMessage
from clawdbot.schema.wire import Wire

W = TypeVar("W", bound=Wire)


class MemoryService(Protocol):
    """The user's memories and the conversation's lines."""

    async def recall(self, query: str, limit: int, mandate: Mandate) -> RecallReply:
        """Return at most `limit` memories that bear on `query`, best first."""

    async def history(self, limit: int, mandate: Mandate) -> tuple[ConversationLine, ...]:
        """Return the newest `limit` lines, oldest of them first."""

    async def append(
        self, lines: Sequence[ConversationLine], mandate: Mandate, name: str | None = None
    ) -> None:
        """Add lines to the conversation, called `name`; known ids change nothing."""

    async def remember(self, kept: Memory, mandate: Mandate) -> None:
        """Keep a memory; a known id changes nothing."""


class Model(Protocol):
    """The chat model that answers."""

    async def count(self, prompts: Sequence[Sequence[ChatTurn]], mandate: Mandate) -> CountReply:
        """Return the length of each prompt by the model's own tokenizer."""

    async def chat(
        self, request: ChatRequest, write: Callable[[str], Awaitable[None]], mandate: Mandate
    ) -> ChatDone:
        """Return the whole answer, after `write` got each of its pieces in order.

        Raises:
            NotFound: there is no such model; the message names its path and the fix.
        """


class Executor(Protocol):
    """The instruction set behind its sandbox."""

    async def plan(self, request: PlanRequest, mandate: Mandate) -> PlanReply:
        """Return what would be run."""

    async def run(self, request: RunRequest, mandate: Mandate) -> RunReply:
        """Return what came of the planned operation; the same for every repetition."""

    async def cancel(self, request: CancelRequest, mandate: Mandate) -> CancelReply:
        """End the operation if it runs."""


class Files(Protocol):
    """Files that came with messages."""

    async def fetch(
        self, message: InboundMessage, index: int, max_bytes: int, mandate: Mandate
    ) -> bytes:
        """Return the file of attachment `index`.

        Raises:
            Rejected: it cannot be had, such as TooLarge beyond `max_bytes`.
            Retryable: it may be there later.
        """


class Journal(Protocol):
    """What the turn has decided so far; outlives this process."""

    async def step(  # noqa: PLR0913 -- a record needs its place, its type and its maker
        self,
        message: InboundMessage,
        index: int,
        name: str,
        kind: type[W],
        compute: Callable[[], Awaitable[W]],
        *,
        deadline: Deadline,
    ) -> W:
        """Return the recorded value of a step; compute and record it first if there is none."""


class Outbox(Protocol):
    """Where replies are stored, each once."""

    async def reply(self, message: OutboundMessage, mandate: Mandate) -> None:
        """Store `message`; a second one in its place changes nothing."""


class Deltas(Protocol):
    """Who watches a reply while it is being written; nobody needs to."""

    async def send(self, conversation: ConversationId, piece: Delta | DeltaEnd) -> None:
        """Broadcast one piece."""


class TurnHandler(Protocol):
    """What the runtime drives: one message at a time and in order within a conversation."""

    async def handle(self, delivery: Delivery[InboundMessage]) -> None:
        """Answer one message."""

    async def given_up(self, delivery: Delivery[InboundMessage], error: ErrorReply) -> None:
        """Tell the user that there will be no answer."""


@dataclass(frozen=True)
class Ports:
    """Everything that a turn reaches out to."""

    memory: MemoryService
    model: Model
    executor: Executor
    files: Files
    journal: Journal
    outbox: Outbox
    deltas: Deltas
    now_ms: Callable[[], int]
    """Unix milliseconds."""
    trace_id: Callable[[], str | None]
    """The trace that the caller stands in."""
