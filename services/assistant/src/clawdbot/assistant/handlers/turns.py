"""The turn: from a stored message to a stored reply.

Each step's result is in the journal before its effect, and every effect has an id derived from the
message, so a turn that is delivered again continues where it stopped and tells the user once.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from clawdbot.assistant.domain.answer import Answer
from clawdbot.assistant.domain.limits import Limits
from clawdbot.assistant.domain.text import bounded
from clawdbot.assistant.domain.turn import ANSWER, RECALL, RUN, Mandate, Recollection, Step, Turn
from clawdbot.assistant.handlers.running import Runner
from clawdbot.assistant.handlers.thinking import Personas, Thinker, Writing
from clawdbot.assistant.ports import Ports
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.delivery import Delivery
from clawdbot.schema.errors import ErrorReply
from clawdbot.schema.executor import RunReply
from clawdbot.schema.inference import ChatDone
from clawdbot.schema.messages import Citation, DeltaEnd, InboundMessage
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
    """

    def __init__(self, ports: Ports, personas: Personas, limits: Limits) -> None:
        self._ports = ports
        self._limits = limits
        self._runner = Runner(ports.executor, limits)
        self._thinker = Thinker(ports.model, ports.memory, personas, limits)

    async def handle(self, delivery: Delivery[InboundMessage]) -> None:
        """Answer one message; attempted again, it continues from its journal.

        Raises:
            Rejected: it can never be answered, such as for want of the model.
            Retryable: something it needs does not answer now. Memory is no exception: an answer
                without it would deny what the user has told us.
        """
        turn = Turn.begin(delivery)
        if turn.message.control is not None:
            await self._reply(turn, Answer.to_control(turn, turn.message.control))
            return
        if not turn.text:
            await self._reply(turn, Answer.only_text())
            return
        recalled = await self._recall(turn)
        if turn.instruction is not None:
            answer = await self._run(turn, turn.instruction)
        else:
            answer = await self._think(turn, recalled)
        await self._keep(turn, answer)
        await self._reply(turn, answer)

    async def given_up(self, delivery: Delivery[InboundMessage], error: ErrorReply) -> None:
        """Tell the user once that there will be no answer, and why."""
        turn = Turn.begin(delivery)
        # The turn's own time may be what ran out; the news of it gets fresh time.
        fresh = Mandate(turn.principal, Deadline.after(self._limits.call_timeout_s))
        await self._send(turn, Answer.apology(turn, error), fresh)

    async def _recall(self, turn: Turn) -> Recollection:
        return await self._step(turn, RECALL, Recollection, lambda: self._recalled(turn))

    async def _recalled(self, turn: Turn) -> Recollection:
        if not self._limits.recall_limit:
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

    async def _run(self, turn: Turn, instruction: str) -> Answer:
        ran = await self._step(turn, RUN, RunReply, lambda: self._runner.run(turn, instruction))
        return Answer.reported(turn, instruction, ran)

    async def _think(self, turn: Turn, recalled: Recollection) -> Answer:
        writing = Writing(self._ports.deltas, turn.message)
        done = await self._step(
            turn, ANSWER, ChatDone, lambda: self._thinker.think(turn, recalled, writing)
        )
        return Answer.thought(turn, recalled, done, writing.count)

    async def _keep(self, turn: Turn, answer: Answer) -> None:
        memory = self._ports.memory
        lines = turn.lines(answer.content, self._ports.now_ms())
        await memory.append(lines, self._call(turn))
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
