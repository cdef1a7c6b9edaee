"""Stops, heard from the gateway by every replica of the assistant."""

from __future__ import annotations

import asyncio
import logging

from clawdbot.assistant.handlers.stopping import Stops
from clawdbot.runtime.bus import Bus
from clawdbot.schema import subjects
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import DeadlineExceeded, InvalidMessage, Overloaded, Unavailable
from clawdbot.schema.messages import Signal, SignalKind

LISTEN_S = 60.0
PAUSE_S = 1.0
"""How long to leave the broker alone when it is away."""

log = logging.getLogger(__name__)


class StopSignals:
    """Tells `stops` of every stop that is broadcast."""

    def __init__(self, bus: Bus, stops: Stops) -> None:
        self._bus = bus
        self._stops = stops
        self.is_listening = asyncio.Event()
        """Set once the first subscription stands."""

    async def run(self) -> None:
        """Keep listening until cancelled."""
        while True:
            try:
                await self._listen()
            except Overloaded:
                log.warning("stop signals were lost")
            except Unavailable:
                await asyncio.sleep(PAUSE_S)

    async def _listen(self) -> None:
        async with self._bus.listen(subjects.ALL_SIGNALS, kinds=(Signal,)) as listener:
            self.is_listening.set()
            while True:
                try:
                    signal = await listener.next(Deadline.after(LISTEN_S))
                except DeadlineExceeded:
                    continue
                except InvalidMessage as exc:
                    log.warning("signal not understood", extra={"reason": exc.message})
                    continue
                if isinstance(signal, Signal) and signal.kind is SignalKind.STOP:
                    self._hear(signal)

    def _hear(self, signal: Signal) -> None:
        if signal.conversation_id is not None:
            log.info("stop", extra={"conversation_id": signal.conversation_id})
            self._stops.hear(signal.conversation_id, signal.at_ms)
