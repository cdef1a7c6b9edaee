"""One gateway at a time is connected for an account; the others wait for their turn.

The hold says who should be connected. It can be lost under a process that was paused, so that two
are connected for a moment: what both are told is kept once all the same, by its id.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from clawdbot.gateway.domain.backoff import LONGEST_S, Backoff
from clawdbot.gateway.domain.rates import RateLimited
from clawdbot.gateway.ports.connectors import (
    Arrival,
    ConnectionMeter,
    Feed,
    Hold,
    HoldLost,
    Holds,
)
from clawdbot.schema.errors import ClawdbotError, Rejected, Retryable, Unavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

MOST_FAILURES = 3
"""In a row; then another gateway may try, whose way to the platform may be better."""


SHORTEST_WAIT_S = 0.05


@dataclass(frozen=True)
class ConnectorPace:
    """How long a connector waits for what."""

    acquire_s: float = 1.0
    """Between two looks whether the account is free."""
    drain_s: float = 5.0
    """For what is being kept when the connection has to end."""
    limited_s: float = 10.0
    """For an event over a limit; those behind it wait as long."""
    longest_pause_s: float = 5.0
    """Between two attempts to have an event kept."""
    backoff: Callable[[], Backoff] = Backoff
    """Between two connections."""


class Connector:
    """Stays connected for one account, whenever no other gateway is.

    Attributes:
        trouble: why it is not connected though it should be, with what to do; None if all is well.
    """

    def __init__(
        self,
        account: str,
        feed: Feed,
        holds: Holds,
        meter: ConnectionMeter,
        pace: ConnectorPace = ConnectorPace(),
    ) -> None:
        self._account = account
        self._feed = feed
        self._holds = holds
        self._meter = meter
        self._pace = pace
        self._backoff = pace.backoff()
        self.trouble: str | None = None

    def reason(self) -> str | None:
        """Return `trouble`."""
        return self.trouble

    async def run(self) -> None:
        """Work until cancelled; then finish what is being kept, and let the next one in."""
        while True:
            pause_s = await self._while_held(await self._acquired())
            await asyncio.sleep(pause_s)

    async def _acquired(self) -> Hold:
        while True:
            try:
                hold = await self._holds.acquire(self._account)
            except Unavailable as exc:
                log.debug("hold not taken", extra={"channel": self._account, "code": exc.code})
                hold = None
            if hold is not None:
                return hold
            # Whoever holds it has the trouble now.
            self.trouble = None
            await asyncio.sleep(self._pace.acquire_s)

    async def _while_held(self, hold: Hold) -> float:
        """Be connected until the hold is lost, or another gateway may try; return the pause."""
        keeping = asyncio.ensure_future(hold.keep())
        serving = asyncio.ensure_future(self._serve())
        try:
            await asyncio.wait({keeping, serving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            serving.cancel()
            # The hold is kept until the last event is done with, and a renewal is not cut off.
            served = await _outcome(serving)
            await hold.release()
            keeping.cancel()
            kept = await _outcome(keeping)
        if isinstance(kept, HoldLost):
            self._meter.ended("hold_lost")
            log.warning("connection given up", extra={"channel": self._account})
            return self._pace.acquire_s
        for outcome in (served, kept):
            if isinstance(outcome, BaseException):
                raise outcome
        return served if isinstance(served, float) else self._pace.acquire_s

    async def _serve(self) -> float:
        """Be connected again and again; return the pause after too many failures."""
        loop, failures = asyncio.get_running_loop(), 0
        while True:
            began_at = loop.time()
            pause_s, is_final = await self._connected_once()
            if loop.time() - began_at > LONGEST_S:
                self._backoff.succeeded()
                failures = 0
            # What only a person can end, no other gateway can: the hold keeps them from trying.
            failures += not is_final
            if failures >= MOST_FAILURES:
                return pause_s
            await asyncio.sleep(pause_s)

    async def _connected_once(self) -> tuple[float, bool]:
        try:
            await self._connected()
        except Rejected as exc:
            self._failed(exc)
            return self._backoff.refused_s(), True
        except ClawdbotError as exc:
            self._failed(exc)
            return self._backoff.next_s(exc.retry_after_s), False
        self._meter.ended("closed")
        log.info("connection closed", extra={"channel": self._account})
        return self._backoff.next_s(), False

    def _failed(self, error: ClawdbotError) -> None:
        self._meter.ended(error.code)
        fix = f"; {error.fix}" if error.fix else ""
        self.trouble = f"{self._account} is not connected: {error.message}{fix}"
        log.warning("not connected", extra={"channel": self._account, "code": error.code})

    async def _connected(self) -> None:
        async with self._feed.open() as arrivals:
            self.trouble = None
            self._meter.connected(is_connected=True)
            log.info("connected", extra={"channel": self._account})
            try:
                await self._listen(arrivals)
            finally:
                self._meter.connected(is_connected=False)

    async def _listen(self, arrivals: AsyncIterator[Arrival]) -> None:
        async for arrival in arrivals:
            await self._finished(self._keep(arrival))
            self._backoff.succeeded()

    async def _finished(self, work: Awaitable[None]) -> None:
        """Wait for `work`, which has some time left to end when we are cancelled."""
        working = asyncio.ensure_future(work)
        try:
            await asyncio.shield(working)
        except asyncio.CancelledError:
            await asyncio.wait({working}, timeout=self._pace.drain_s)
            working.cancel()
            await _outcome(working)
            raise

    async def _keep(self, arrival: Arrival) -> None:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._pace.limited_s
        pause_s = 0.1
        while True:
            try:
                await arrival.keep()
            except RateLimited as exc:
                if loop.time() + exc.retry_after_s > give_up_at:
                    await self._refuse(arrival, exc)
                    return
                await asyncio.sleep(max(exc.retry_after_s, SHORTEST_WAIT_S))
            except Retryable as exc:
                log.info("event not kept", extra={"channel": self._account, "code": exc.code})
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, self._pace.longest_pause_s)
            except Rejected as exc:
                await self._refuse(arrival, exc)
                return
            else:
                self._meter.arrived("kept")
                await arrival.acknowledge()
                return

    async def _refuse(self, arrival: Arrival, error: ClawdbotError) -> None:
        log.warning("event refused", extra={"channel": self._account, "code": error.code})
        self._meter.arrived("refused")
        await arrival.refuse()


async def _outcome(task: asyncio.Future[T]) -> T | BaseException | None:
    """Return what an ending task returned or raised; None where it was cancelled."""
    (result,) = await asyncio.gather(task, return_exceptions=True)
    return None if isinstance(result, asyncio.CancelledError) else result
