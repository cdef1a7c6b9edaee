"""Stops: which conversations were told to stop, and the turns of theirs that run here."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from clawdbot.schema.ids import ConversationId, MessageId
from clawdbot.schema.messages import InboundMessage

REMEMBERED = 10_000
"""Conversations whose latest stop is remembered, since what it stops may still wait its turn."""


class Stopped(Exception):
    """A person does not want this turn's answer any more."""


@dataclass(frozen=True)
class _Stop:
    at_ms: int
    has_ended_a_turn: bool = False


class Stops:
    """Ends turns that a person stopped, and does not let those begin that wait behind them."""

    def __init__(self) -> None:
        self._latest: OrderedDict[ConversationId, _Stop] = OrderedDict()
        self._running: dict[MessageId, tuple[InboundMessage, asyncio.Timeout]] = {}

    def hear(self, conversation: ConversationId, at_ms: int) -> None:
        """Stop what was accepted in `conversation` until Unix time `at_ms`."""
        known = self._latest.pop(conversation, _Stop(at_ms))
        self._latest[conversation] = known if known.at_ms >= at_ms else _Stop(at_ms)
        if len(self._latest) > REMEMBERED:
            self._latest.popitem(last=False)
        for message, scope in self._running.values():
            if self._concerns(message) and not scope.expired():
                scope.reschedule(asyncio.get_running_loop().time())

    def has_ended_a_turn(self, said: InboundMessage) -> bool | None:
        """Return whether the stop that `said` asked for ended a turn here; None: nobody knows."""
        stop = self._latest.get(said.conversation_id)
        return None if stop is None or stop.at_ms != said.accepted_at_ms else stop.has_ended_a_turn

    @asynccontextmanager
    async def watch(self, message: InboundMessage) -> AsyncIterator[None]:
        """Let what runs within answer `message`, and end it as soon as that is not wanted.

        Raises:
            Stopped: it was told to stop, before or meanwhile.
        """
        try:
            if self._concerns(message):
                raise Stopped
            # A timeout without a time: it ends what is within by cancelling it, as a stop must.
            async with asyncio.timeout(None) as scope:
                self._running[message.message_id] = message, scope
                yield
        except TimeoutError as exc:
            if not scope.expired():
                raise
            raise Stopped from exc
        finally:
            self._running.pop(message.message_id, None)
            self._note(message)

    def _note(self, message: InboundMessage) -> None:
        if self._concerns(message):
            stop = self._latest[message.conversation_id]
            self._latest[message.conversation_id] = replace(stop, has_ended_a_turn=True)

    def _concerns(self, message: InboundMessage) -> bool:
        stop = self._latest.get(message.conversation_id)
        return stop is not None and message.accepted_at_ms <= stop.at_ms
