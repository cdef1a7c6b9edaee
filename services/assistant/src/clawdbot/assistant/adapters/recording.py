"""Fakes of every port, for tests: they record what happened, in order, and fail on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from clawdbot.assistant.domain.turn import Mandate
from clawdbot.assistant.ports import Ports
from clawdbot.schema.codec import decode, encode
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, TooLarge
from clawdbot.schema.executor import (
    Approval,
    CancelReply,
    CancelRequest,
    Outcome,
    PlanReply,
    PlanRequest,
    Risk,
    RunReply,
    RunRequest,
)
from clawdbot.schema.ids import ConversationId
from clawdbot.schema.inference import (
    ChatDone,
    ChatRequest,
    ChatTurn,
    CountReply,
    FinishReason,
)
from clawdbot.schema.memory import ConversationLine, Memory, Recalled, RecallReply
from clawdbot.schema.messages import (
    Delta,
    DeltaEnd,
    InboundMessage,
    OutboundMessage,
    Usage,
)
from clawdbot.schema.wire import Wire

W = TypeVar("W", bound=Wire)
PLAN_HASH = "0" * 64


class Recorder:
    """What happened, in order; an event named in `failures` raises once instead of happening."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.mandates: list[Mandate] = []
        self.failures: dict[str, BaseException] = {}

    def note(self, event: str, mandate: Mandate | None = None) -> None:
        """Record `event`, or raise the failure that waits for it."""
        failure = self.failures.pop(event, None)
        if failure is not None:
            raise failure
        self.events.append(event)
        if mandate is not None:
            self.mandates.append(mandate)


class InMemoryMemory:
    """A memory service that recalls everything it was told, in order."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.queries: list[str] = []
        self.memories: dict[str, Memory] = {}
        self.lines: dict[str, ConversationLine] = {}
        self.conversation_name: str | None = None

    async def recall(self, query: str, limit: int, mandate: Mandate) -> RecallReply:
        """Return the first `limit` memories, whatever the query."""
        self._recorder.note("recall", mandate)
        self.queries.append(query)
        found = list(self.memories.values())[:limit]
        return RecallReply(memories=tuple(Recalled(memory=each, score=0.5) for each in found))

    async def history(self, limit: int, mandate: Mandate) -> tuple[ConversationLine, ...]:
        """Return the newest `limit` lines."""
        self._recorder.note("history", mandate)
        return tuple(self.lines.values())[-limit:]

    async def append(
        self, lines: Sequence[ConversationLine], mandate: Mandate, name: str | None = None
    ) -> None:
        """Add lines whose id is new."""
        self._recorder.note("append", mandate)
        self.conversation_name = name
        for line in lines:
            self.lines.setdefault(line.id, line)

    async def remember(self, kept: Memory, mandate: Mandate) -> None:
        """Keep a memory whose id is new."""
        self._recorder.note("remember", mandate)
        self.memories.setdefault(kept.id, kept)


class ScriptedModel:
    """A model that always says the same, in pieces, and counts one token a character."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.pieces: tuple[str, ...] = ("Hello", " there", ".")
        self.context_length = 100_000
        self.tokens_of: Callable[[str], int] = len
        self.requests: list[ChatRequest] = []
        self.counts = 0
        self.gate: asyncio.Event | None = None
        """When set to an event, answers wait for it after their first piece."""
        self.has_begun = asyncio.Event()
        """Set once the first piece was written."""

    def length(self, prompt: Sequence[ChatTurn]) -> int:
        """Return the length of a prompt, four tokens a message included."""
        return sum(4 + self.tokens_of(turn.content) for turn in prompt)

    async def count(self, prompts: Sequence[Sequence[ChatTurn]], mandate: Mandate) -> CountReply:
        """Return the length of each prompt."""
        self._recorder.note("count", mandate)
        self.counts += 1
        lengths = tuple(self.length(prompt) for prompt in prompts)
        return CountReply(tokens=lengths, context_length=self.context_length)

    async def chat(
        self, request: ChatRequest, write: Callable[[str], Awaitable[None]], mandate: Mandate
    ) -> ChatDone:
        """Say `pieces`."""
        self._recorder.note("chat", mandate)
        self.requests.append(request)
        for piece in self.pieces:
            await write(piece)
            self.has_begun.set()
            if self.gate is not None:
                await self.gate.wait()
        usage = Usage(prompt_tokens=self.length(request.messages), completion_tokens=3)
        return ChatDone(
            text="".join(self.pieces),
            model="scripted/1",
            finish_reason=FinishReason.STOP,
            usage=usage,
        )


class RecordingExecutor:
    """An executor that prints `stdout` for whatever it is asked."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.approval: Approval | None = None
        """What has to be answered before anything is run."""
        self.cancelled: list[str] = []
        self.gate: asyncio.Event | None = None
        """When set to an event, runs wait for it."""
        self.stdout = "kernel: Linux\n"
        self.runs: list[RunRequest] = []

    async def plan(self, request: PlanRequest, mandate: Mandate) -> PlanReply:
        """Return a plan of risk 0."""
        self._recorder.note("plan", mandate)
        return PlanReply(
            operation_id=request.operation_id,
            plan_hash=PLAN_HASH,
            risk=Risk.READS_OWN_INPUT,
            needs_approval=self.approval is not None,
            rendered=request.instruction,
            approval=self.approval,
        )

    async def run(self, request: RunRequest, mandate: Mandate) -> RunReply:
        """Return `stdout`."""
        self._recorder.note("run", mandate)
        self.runs.append(request)
        if self.gate is not None:
            await self.gate.wait()
        return RunReply(
            operation_id=request.operation_id,
            plan_hash=request.plan_hash,
            outcome=Outcome.FINISHED,
            exit_status=0,
            stdout=self.stdout,
            stderr="",
            truncated=False,
            duration_ms=1,
        )

    async def cancel(self, request: CancelRequest, mandate: Mandate) -> CancelReply:
        """Note it."""
        self._recorder.note("cancel", mandate)
        self.cancelled.append(request.operation_id)
        return CancelReply(cancelled=True)


class ScriptedFiles:
    """Files by the address of their attachment; an error is raised instead."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.files: dict[str, bytes | ClawdbotError] = {}

    async def fetch(
        self, message: InboundMessage, index: int, max_bytes: int, mandate: Mandate
    ) -> bytes:
        """Return the file, if it is short enough."""
        self._recorder.note(f"fetch {index}", mandate)
        found = self.files[message.attachments[index].url]
        if isinstance(found, ClawdbotError):
            raise found
        if len(found) > max_bytes:
            raise TooLarge("the file is too long")
        return found


class InMemoryJournal:
    """A journal that outlives a turn; records are bytes, as on the broker."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.records: dict[tuple[str, int], bytes] = {}

    async def step(  # noqa: PLR0913 -- the shape is the port's
        self,
        message: InboundMessage,
        index: int,
        name: str,
        kind: type[W],
        compute: Callable[[], Awaitable[W]],
        *,
        deadline: Deadline,
    ) -> W:
        """Return what is recorded; compute and record it first if nothing is."""
        deadline.require()
        place = (message.message_id, index)
        if place not in self.records:
            value = await compute()
            self._recorder.note(f"journal {name}")
            self.records[place] = encode(value)
        return decode(kind, self.records[place])


class InMemoryOutbox:
    """An outbox that keeps the first message of each place."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.replies: dict[tuple[str, int], OutboundMessage] = {}

    async def reply(self, message: OutboundMessage, mandate: Mandate) -> None:
        """Keep `message` unless its place is taken."""
        self._recorder.note("reply", mandate)
        self.replies.setdefault((message.message_id, message.part), message)


class RecordingDeltas:
    """Keeps every piece that was broadcast."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.pieces: list[Delta | DeltaEnd] = []
        self.conversations: set[ConversationId] = set()

    async def send(self, conversation: ConversationId, piece: Delta | DeltaEnd) -> None:
        """Keep `piece`."""
        self._recorder.note("end" if isinstance(piece, DeltaEnd) else f"delta {piece.index}")
        self.pieces.append(piece)
        self.conversations.add(conversation)


class World:
    """All fakes together, and the ports that lead to them."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.memory = InMemoryMemory(self.recorder)
        self.model = ScriptedModel(self.recorder)
        self.executor = RecordingExecutor(self.recorder)
        self.files = ScriptedFiles(self.recorder)
        self.journal = InMemoryJournal(self.recorder)
        self.outbox = InMemoryOutbox(self.recorder)
        self.deltas = RecordingDeltas(self.recorder)
        self.ports = Ports(
            memory=self.memory,
            model=self.model,
            executor=self.executor,
            files=self.files,
            journal=self.journal,
            outbox=self.outbox,
            deltas=self.deltas,
            now_ms=lambda: 1_700_000_000_000,
            trace_id=lambda: "trace-1",
        )
