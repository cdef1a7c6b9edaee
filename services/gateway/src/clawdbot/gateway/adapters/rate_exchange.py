"""Tells the other replicas each second what was counted here, and counts what they tell."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from secrets import token_hex

from clawdbot.gateway.domain.rates import Rates
from clawdbot.runtime.bus import Bus
from clawdbot.runtime.listener import Listener
from clawdbot.schema import subjects
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.edge import MAX_COUNTS, EdgeCount, EdgeCounts
from clawdbot.schema.errors import DeadlineExceeded, InvalidMessage, Retryable, Unavailable

log = logging.getLogger(__name__)

EVERY_S = 1.0
SILENCE_S = 5.0
"""After this long without hearing even ourselves, the exchange does not work."""


class RateExchange:
    """One replica's part in the exchange.

    What gets lost on the way is lost, and replicas that nobody hears go on by themselves.

    Args:
        bus: with the right to publish and to hear `claw.edge.counts`.
        rates: this replica's.
        now: seconds of the clock that `rates` goes by.
    """

    def __init__(
        self, bus: Bus, rates: Rates, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._bus = bus
        self._rates = rates
        self._now = now
        self._replica = token_hex(8)
        self._heard_at = now()

    def is_working(self) -> bool:
        """Return whether what we told came back to us lately, as it comes to the others."""
        return self._now() - self._heard_at <= SILENCE_S

    def reason(self) -> str | None:
        """Return why the exchange does not work, or None when it does."""
        if self.is_working():
            return None
        return (
            "counts are not exchanged with other replicas, and addresses that are not known are "
            f"refused; may the gateway publish and hear {subjects.edge_counts()}?"
        )

    async def run(self) -> None:
        """Exchange until cancelled."""
        while True:
            try:
                async with self._bus.listen(subjects.edge_counts(), kinds=(EdgeCounts,)) as heard:
                    await self._exchange(heard)
            except Retryable as exc:
                log.debug("counts not exchanged", extra={"code": exc.code})
                await asyncio.sleep(EVERY_S)

    async def _exchange(self, listener: Listener) -> None:
        while True:
            next_s = Deadline.after(EVERY_S)
            await self.tell()
            await self._hear(listener, next_s)

    async def tell(self) -> None:
        """Broadcast what was counted since the last time; nothing is told to nobody for good.

        Raises:
            Unavailable: the broker is away; nothing was told.
        """
        if not self._bus.is_connected:
            raise Unavailable("the broker is not reachable")
        counts = tuple(
            EdgeCount(kind=kind.value, key=key, count=count)
            for kind, key, count in self._rates.tell(MAX_COUNTS)
        )
        told = EdgeCounts(replica=self._replica, counts=counts)
        await self._bus.broadcast(subjects.edge_counts(), told)

    async def _hear(self, listener: Listener, until: Deadline) -> None:
        while True:
            try:
                heard = await listener.next(until)
            except DeadlineExceeded:
                return
            except InvalidMessage:
                # A newer replica may say more than we understand.
                continue
            if isinstance(heard, EdgeCounts):
                self.learn(heard)

    def learn(self, heard: EdgeCounts) -> None:
        """Count what a replica told; our own words only show that we are heard."""
        if heard.replica == self._replica:
            self._heard_at = self._now()
            return
        counts = ((one.kind, one.key, one.count) for one in heard.counts)
        self._rates.learn(counts, self._now())
