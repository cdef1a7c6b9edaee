"""A turn: one message, on its way to one answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from clawdbot.assistant.domain.files import Reading, name_of
from clawdbot.assistant.domain.instructions import Asked, asked_in
from clawdbot.assistant.domain.language import Language, language_of
from clawdbot.assistant.domain.statements import is_worth_remembering
from clawdbot.assistant.domain.text import bounded
from clawdbot.schema.controls import ControlKind
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.delivery import Delivery
from clawdbot.schema.executor import Approval, ApprovalState, Outcome, RunReply
from clawdbot.schema.ids import derived
from clawdbot.schema.memory import ConversationLine, Memory, MemorySource, Speaker
from clawdbot.schema.messages import MAX_CONTENT_CHARS, Citation, InboundMessage
from clawdbot.schema.wire import Wire

MAX_MEMORY_CHARS = 2000
"""A memory is a statement, not a document."""


class Step(NamedTuple):
    """A place in a turn's journal."""

    place: int
    """Each step's own; a place is written once."""
    name: str


RECALL = Step(0, "recall")
RUN = Step(1, "run")
ANSWER = Step(2, "answer")
READ = Step(3, "read")


class Recollection(Wire):
    """What memory gave for a turn, as its journal keeps it."""

    SCHEMA = "assistant_recollection/1"

    citations: tuple[Citation, ...] = ()
    """Best first."""


class Ran(Wire):
    """What came of having an instruction run, as the journal of a turn keeps it."""

    SCHEMA = "assistant_ran/1"

    result: RunReply | None = None
    approval: Approval | None = None
    """Instead of a result: what a person has to answer first."""


@dataclass(frozen=True)
class Known:
    """What the model gets to know besides what was said."""

    recalled: Recollection
    reading: Reading


@dataclass(frozen=True)
class Mandate:
    """On whose behalf a call is made, and until when its answer is of use."""

    principal: str | None
    deadline: Deadline


@dataclass(frozen=True)
class Turn:
    """One message with what follows from it alone."""

    message: InboundMessage
    principal: str | None
    deadline: Deadline
    attempt: int = 1
    """1 for the first."""

    @classmethod
    def begin(cls, delivery: Delivery[InboundMessage]) -> Turn:
        """Return the turn of a delivered message."""
        return cls(delivery.message, delivery.principal, delivery.deadline, delivery.attempt)

    @property
    def text(self) -> str:
        """What was said, without the space around it; empty when only files came."""
        return self.message.content.strip()

    @property
    def language(self) -> Language:
        """The language that our own texts take in the answer."""
        return language_of(self.text)

    @property
    def asked(self) -> Asked | None:
        """The executor's instruction that is asked for."""
        return asked_in(self.text)

    @property
    def approval(self) -> Approval | None:
        """The approval that this message gave, so that its plan can be run now."""
        control = self.message.control
        if control is None or control.kind is not ControlKind.APPROVE or control.approval is None:
            return None
        return control.approval if control.approval.state is ApprovalState.APPROVED else None

    @property
    def instruction(self) -> str | None:
        """The name of what this turn runs, if it runs anything."""
        if self.approval is not None:
            return self.approval.instruction
        return None if self.asked is None else self.asked.instruction

    @property
    def operation_id(self) -> str:
        """By what the executor knows what this turn runs."""
        return self.approval.operation_id if self.approval else self.id_of("run")

    def mandate(self, seconds: float) -> Mandate:
        """Return the mandate for a call of at most `seconds`, never longer than the turn."""
        return Mandate(self.principal, self.deadline.within(seconds))

    def id_of(self, effect: str) -> str:
        """Return the id of an effect of this turn; the same however often it is attempted."""
        return derived(self.message.message_id, effect)

    def cancelled(self) -> Ran:
        """Return what comes of this turn's operation when a person stops it."""
        return Ran(
            result=RunReply(
                operation_id=self.operation_id,
                plan_hash=self.approval.plan_hash if self.approval else "",
                outcome=Outcome.CANCELLED,
                exit_status=None,
                stdout="",
                stderr="",
                truncated=False,
                duration_ms=0,
            )
        )

    def lines(self, answer: str, now_ms: int) -> tuple[ConversationLine, ConversationLine]:
        """Return what the conversation gains: what was said and what was answered."""
        said = ConversationLine(
            id=self.id_of("user"),
            speaker=Speaker.USER,
            # Of files only their names are kept: what stands in them nobody said.
            content=self.text or self._file_names(),
            said_at_ms=self.message.accepted_at_ms,
        )
        answered = ConversationLine(
            id=self.id_of("assistant"),
            speaker=Speaker.ASSISTANT,
            content=bounded(answer, MAX_CONTENT_CHARS),
            said_at_ms=now_ms,
        )
        return said, answered

    def _file_names(self) -> str:
        return ", ".join(f"[{name_of(file)}]" for file in self.message.attachments)

    def statement(self) -> Memory | None:
        """Return what the user stated, as a memory; None when there is nothing to keep."""
        if self.instruction is not None or not is_worth_remembering(self.text):
            return None
        return Memory(
            id=self.id_of("memory"),
            content=bounded(self.text, MAX_MEMORY_CHARS),
            # Our own clock: a platform's may be wrong, and recall filters by this time.
            created_at_ms=self.message.accepted_at_ms,
            source=MemorySource.USER,
        )
