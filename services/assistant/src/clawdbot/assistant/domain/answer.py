"""An answer, and the message in which its reader gets it."""

from __future__ import annotations

from dataclasses import dataclass, field

from clawdbot.assistant.domain import control_wording, wording
from clawdbot.assistant.domain.turn import Known, Turn
from clawdbot.schema.controls import Control
from clawdbot.schema.errors import ErrorReply
from clawdbot.schema.executor import Approval, Outcome, RunReply
from clawdbot.schema.inference import ChatDone, FinishReason
from clawdbot.schema.messages import OutboundMessage, ReplyKind, ReplyMetadata


@dataclass(frozen=True)
class Answer:
    """What a turn ends with."""

    content: str
    metadata: ReplyMetadata = field(default_factory=ReplyMetadata)
    kind: ReplyKind = ReplyKind.REPLY
    deltas: int = 0
    """How many deltas were broadcast while it was written; 0 when it came from the journal."""
    approval: Approval | None = None
    """What its reader has to approve or deny."""
    is_kept: bool = True
    """Whether the conversation remembers the exchange."""

    @classmethod
    def thought(cls, turn: Turn, known: Known, done: ChatDone, deltas: int) -> Answer:
        """Return what the model said."""
        is_stopped = done.finish_reason is FinishReason.CANCELLED
        if is_stopped:
            content = control_wording.stopped(turn.language, done.text)
        else:
            content = done.text.strip() or wording.no_answer(turn.language)
        if known.reading.unread:
            note = wording.files_unread(known.reading.unread, turn.language)
            content = f"{content}\n\n{note}"
        metadata = ReplyMetadata(
            model=done.model or None,
            usage=done.usage,
            finish_reason=done.finish_reason.value,
            recalled=known.recalled.citations,
            files_read=tuple(file.name for file in known.reading.texts),
        )
        is_kept = not is_stopped or bool(done.text.strip())
        return cls(content, metadata, deltas=deltas, is_kept=is_kept)

    @classmethod
    def reported(cls, turn: Turn, instruction: str, ran: RunReply) -> Answer:
        """Return what an instruction printed; no model has a say in it."""
        if ran.outcome is Outcome.CANCELLED:
            content = control_wording.stopped(turn.language)
        else:
            content = wording.report(instruction, ran, turn.language)
        is_kept = turn.approval is None
        return cls(content, ReplyMetadata(instruction=instruction), is_kept=is_kept)

    @classmethod
    def asking(cls, turn: Turn, approval: Approval, now_ms: int) -> Answer:
        """Return the question whether exactly this plan may be run."""
        content = control_wording.question(approval, now_ms, turn.language)
        metadata = ReplyMetadata(instruction=approval.instruction)
        return cls(content, metadata, approval=approval)

    @classmethod
    def to_control(cls, turn: Turn, control: Control) -> Answer:
        """Return what came of a control word; no model has a say in it."""
        content = control_wording.decided(control, turn.language)
        if control.error is None:
            return cls(content, is_kept=False)
        metadata = ReplyMetadata(error=control.error)
        return cls(content, metadata, ReplyKind.ERROR, is_kept=False)

    @classmethod
    def nothing_ran(cls, turn: Turn) -> Answer:
        """Return the answer to a stop that found nothing to stop."""
        return cls(control_wording.nothing_ran(turn.language), is_kept=False)

    @classmethod
    def only_text(cls) -> Answer:
        """Return the answer to a message without any text."""
        return cls(wording.ONLY_TEXT, is_kept=False)

    @classmethod
    def apology(cls, turn: Turn, error: ErrorReply) -> Answer:
        """Return what a person reads when the turn was given up."""
        metadata = ReplyMetadata(error=error, trace_id=error.trace_id)
        return cls(wording.apology(error, turn.language), metadata, ReplyKind.ERROR)

    def addressed(self, turn: Turn, now_ms: int, trace_id: str | None) -> OutboundMessage:
        """Return the message that carries this answer back the way its question came."""
        message = turn.message
        traced = {"trace_id": self.metadata.trace_id or trace_id}
        return OutboundMessage(
            channel=message.channel,
            tenant=message.tenant,
            conversation_id=message.conversation_id,
            message_id=message.message_id,
            kind=self.kind,
            content=self.content,
            approval=self.approval,
            metadata=self.metadata.model_copy(update=traced),
            thread_id=message.thread_id,
            reply_to=message.reply_to,
            created_at_ms=now_ms,
        )
