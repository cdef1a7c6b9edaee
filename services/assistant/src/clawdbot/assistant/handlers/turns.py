"""The turn: from a stored message to a stored reply.

Each step's result is in the journal before its effect, and every effect has an id derived from the
message, so a turn that is delivered again continues where it stopped and tells the user once.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from clawdbot.assistant.domain.answer import Answer
from clawdbot.assistant.domain.files import Reading, readable, unread
from clawdbot.assistant.domain.instructions import Asked
from clawdbot.assistant.domain.limits import Limits
from clawdbot.assistant.domain.text import bounded
from clawdbot.assistant.domain.turn import (
    ANSWER,
    READ,
    RECALL,
    RUN,
    Known,
    Mandate,
    Ran,
    Recollection,
    Step,
    Turn,
)
from clawdbot.assistant.handlers.controls import Controls
from clawdbot.assistant.handlers.reading import Reader
from clawdbot.assistant.handlers.running import Runner
from clawdbot.assistant.handlers.stopping import Stopped, Stops
from clawdbot.assistant.handlers.thinking import Personas, Thinker, Writing
from clawdbot.assistant.ports import Ports
from clawdbot.schema.controls import Control, ControlKind
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.delivery import Delivery
from clawdbot.schema.errors import (
    ApprovalDenied,
    ApprovalExpired,
    ApprovalRequired,
    ErrorReply,
    Internal,
    to_wire,
)
from clawdbot.schema.executor import Approval
from clawdbot.schema.inference import ChatDone, FinishReason
from clawdbot.schema.messages import Citation, DeltaEnd, InboundMessage, Usage
from clawdbot.schema.wire import Wire

W = TypeVar("W", bound=Wire)

MAX_QUERY_CHARS = 2000
"""More of a long text does not make its embedding say more."""

log = logging.getLogger(__name__)


class Turns:
    """Answers messages, one at a time and in order within a conversation.

    Args:
        ports: what a turn reaches out to.
        personas: who the model is told to be, in each language.
        limits: how much a turn may take.
        stops: tells which turns are not wanted any more.
    """

    def __init__(self, ports: Ports, personas: Personas, limits: Limits, stops: Stops) -> None:
        self._ports = ports
        self._limits = limits
        self._reader = Reader(ports.files, limits)
        self._runner = Runner(ports.executor, limits)
        self._stops = stops
        self._controls = Controls(stops)
        self._thinker = Thinker(ports.model, ports.memory, personas, limits)

    async def handle(self, delivery: Delivery[InboundMessage]) -> None:
        """Answer one message; attempted again, it continues from its journal.

        Raises:
            Rejected: it can never be answered, such as for want of the model.
            Retryable: something it needs does not answer now. Memory is no exception: an answer
                without it would deny what the user has told us.
        """
        turn = Turn.begin(delivery)
        control = turn.message.control
        if control is not None and turn.approval is None:
            await self._end(turn, self._controls.answer(turn, control))
            return
        writing = Writing(self._ports.deltas, turn.message)
        try:
            async with self._stops.watch(turn.message):
                await self._end(turn, await self._answer(turn, writing))
        except Stopped:
            await self._end(turn, await self._stopped(turn, writing))

    async def given_up(self, delivery: Delivery[InboundMessage], error: ErrorReply) -> None:
        """Tell the user once that there will be no answer, and why."""
        turn = Turn.begin(delivery)
        # The turn's own time may be what ran out; the news of it gets fresh time.
        fresh = Mandate(turn.principal, Deadline.after(self._limits.call_timeout_s))
        await self._send(turn, Answer.apology(turn, error), fresh)

    async def _answer(self, turn: Turn, writing: Writing) -> Answer:
        if turn.approval is not None:
            return await self._resume(turn, turn.approval)
        reading = await self._read(turn)
        if not turn.text and not reading.texts:
            return Answer.only_text()
        known = Known(await self._recall(turn), reading)
        if turn.asked is not None:
            return await self._run(turn, turn.asked)
        return await self._think(turn, known, writing)

    async def _end(self, turn: Turn, answer: Answer) -> None:
        if answer.is_kept:
            await self._keep(turn, answer)
        await self._reply(turn, answer)

    async def _stopped(self, turn: Turn, writing: Writing) -> Answer:
        """Record that the turn ends here, unless it had its answer already; return its answer."""
        if turn.instruction is not None:
            await self._runner.cancel(turn)
            return await self._ran(turn, turn.instruction, _given(turn.cancelled()))
        broken_off = ChatDone(
            text=writing.text,
            model="",
            finish_reason=FinishReason.CANCELLED,
            usage=Usage(prompt_tokens=0, completion_tokens=0),
        )
        done = await self._step(turn, ANSWER, ChatDone, _given(broken_off))
        return Answer.thought(turn, Known(Recollection(), Reading()), done, writing.count)

    async def _read(self, turn: Turn) -> Reading:
        if turn.instruction is not None or not readable(turn.message.attachments):
            return unread(turn.message.attachments)
        return await self._step(turn, READ, Reading, lambda: self._reader.read(turn))

    async def _recall(self, turn: Turn) -> Recollection:
        return await self._step(turn, RECALL, Recollection, lambda: self._recalled(turn))

    async def _recalled(self, turn: Turn) -> Recollection:
        if not self._limits.recall_limit or not turn.text:
            return Recollection()
        query = bounded(turn.text, MAX_QUERY_CHARS)
        reply = await self._ports.memory.recall(query, self._limits.recall_limit, self._call(turn))
        if reply.degraded is not None:
            log.warning("recall degraded", extra={"reason": reply.degraded})
        return Recollection(
            citations=tuple(
                Citation(memory_id=found.memory.id, content=found.memory.content, score=found.score)
                for found in reply.memories
            )
        )

    async def _run(self, turn: Turn, asked: Asked) -> Answer:
        return await self._ran(turn, asked.instruction, lambda: self._runner.run(turn, asked))

    async def _resume(self, turn: Turn, approval: Approval) -> Answer:
        try:
            return await self._ran(
                turn, approval.instruction, lambda: self._runner.resume(turn, approval)
            )
        except (ApprovalRequired, ApprovalDenied, ApprovalExpired) as exc:
            refused = Control(kind=ControlKind.APPROVE, code=approval.code, error=to_wire(exc))
            return Answer.to_control(turn, refused)

    async def _ran(
        self, turn: Turn, instruction: str, compute: Callable[[], Awaitable[Ran]]
    ) -> Answer:
        ran = await self._step(turn, RUN, Ran, compute)
        if ran.result is not None:
            return Answer.reported(turn, instruction, ran.result)
        if ran.approval is not None:
            return Answer.asking(turn, ran.approval, self._ports.now_ms())
        raise Internal("the journal holds a run without a result")

    async def _think(self, turn: Turn, known: Known, writing: Writing) -> Answer:
        done = await self._step(
            turn, ANSWER, ChatDone, lambda: self._thinker.think(turn, known, writing)
        )
        return Answer.thought(turn, known, done, writing.count)

    async def _keep(self, turn: Turn, answer: Answer) -> None:
        memory = self._ports.memory
        lines = turn.lines(answer.content, self._ports.now_ms())
        await memory.append(lines, self._call(turn), turn.message.conversation_name)
        statement = turn.statement()
        if statement is not None:
            await memory.remember(statement, self._call(turn))

    async def _reply(self, turn: Turn, answer: Answer) -> None:
        await self._send(turn, answer, self._call(turn))
        log.info("turn answered", extra={"recalled": len(answer.metadata.recalled)})

    async def _send(self, turn: Turn, answer: Answer, mandate: Mandate) -> None:
        message = answer.addressed(turn, self._ports.now_ms(), self._ports.trace_id())
        await self._ports.outbox.reply(message, mandate)
        # Only now: whoever hears the end may read the stored reply.
        end = DeltaEnd(
            message_id=message.message_id, count=answer.deltas, usage=answer.metadata.usage
        )
        await self._ports.deltas.send(message.conversation_id, end)

    async def _step(
        self, turn: Turn, step: Step, kind: type[W], compute: Callable[[], Awaitable[W]]
    ) -> W:
        deadline = turn.deadline.within(self._limits.step_timeout_s)
        return await self._ports.journal.step(
            turn.message, step.place, step.name, kind, compute, deadline=deadline
        )

    def _call(self, turn: Turn) -> Mandate:
        return turn.mandate(self._limits.call_timeout_s)


def _given(value: W) -> Callable[[], Awaitable[W]]:
    """Return what takes a step whose value is known."""

    async def give() -> W:
        return value

    return give
