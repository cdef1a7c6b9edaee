"""The journal of turns: each decision and result is stored before its effect or the next step.

A redelivered turn finds what was decided and goes on from there, instead of asking a model again
that might say something else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from clawdbot.runtime.bus import Bus
from clawdbot.schema import subjects
from clawdbot.schema.codec import decode, encode
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import Conflict, Unavailable
from clawdbot.schema.messages import InboundMessage, TurnStep
from clawdbot.schema.streams import TURNS
from clawdbot.schema.wire import Wire

W = TypeVar("W", bound=Wire)


class Journal:
    """Records the steps of turns in the stream `TURNS`, each once."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def step(  # noqa: PLR0913 -- what a step is, and how to take it
        self,
        message: InboundMessage,
        index: int,
        name: str,
        kind: type[W],
        compute: Callable[[], Awaitable[W]],
        *,
        deadline: Deadline,
    ) -> W:
        """Return the recorded value of a step; take it with `compute` when there is none.

        When two workers take the same step, both return what was stored first.

        Args:
            message: the message whose turn it is.
            index: position of the step in the turn, from 0.
            name: what the step decides.
            kind: type of its value.
            compute: gives the value; called at most once.
            deadline: for reading and storing.

        Raises:
            Conflict: the journal holds another step at this position.
            Unavailable: the broker does not answer.
        """
        subject = subjects.turn(message.tenant, message.conversation_id, message.message_id, index)
        recorded = await self._read(subject, name, kind, deadline)
        if recorded is not None:
            return recorded
        value = await compute()
        step = TurnStep(name=name, schema_name=kind.SCHEMA, value=encode(value))
        stored = await self._bus.store_once(subject, step, deadline=deadline)
        if stored.is_new:
            return value
        first = await self._read(subject, name, kind, deadline)
        if first is None:
            raise Unavailable("the journal lost a step that it had")
        return first

    async def _read(self, subject: str, name: str, kind: type[W], deadline: Deadline) -> W | None:
        kept = await self._bus.read_last(TURNS, subject, TurnStep, deadline=deadline)
        if kept is None:
            return None
        if kept.message.name != name:
            raise Conflict(f"the journal holds {kept.message.name!r} where {name!r} belongs")
        return decode(kind, kept.message.value, kept.message.schema_name)
