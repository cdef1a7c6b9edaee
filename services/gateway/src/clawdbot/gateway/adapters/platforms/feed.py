"""Events of a connection that we opened, on the way that a webhook's requests take."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from clawdbot.gateway.adapters import metrics
from clawdbot.gateway.adapters.platforms.intake import Intake
from clawdbot.gateway.adapters.platforms.interface import Connects, Event
from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest, Verified
from clawdbot.runtime.telemetry import SpanKind, span
from clawdbot.schema.errors import Rejected

UNSIGNED = RawRequest("POST", "")
"""There was no request: whom we connected to is who speaks."""


@dataclass
class EventArrival:
    """An `Arrival` that an adapter yielded."""

    intake: Intake
    event: Event
    answer: HTTPAnswer = field(default_factory=HTTPAnswer)

    async def keep(self) -> None:
        """Take it as a verified request is taken."""
        channel = self.intake.connection.account.channel
        try:
            with span(f"event {self.intake.connection.account.platform}", kind=SpanKind.CONSUMER):
                self.answer = await self.intake.take(Verified(UNSIGNED, self.event.payload))
        except Rejected as exc:
            metrics.refused.labels(channel, exc.code).inc()
            raise

    async def acknowledge(self) -> None:
        """Pass the answer on."""
        await self.event.acknowledge(self.answer)

    async def refuse(self) -> None:
        """Pass the refusal on."""
        await self.event.refuse()


@dataclass(frozen=True)
class AccountFeed:
    """A `Feed` of one account."""

    intake: Intake
    adapter: Connects

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[EventArrival]]:
        """Connect by the adapter."""
        async with self.adapter.connect() as events:
            async with aclosing(self._arrivals(events)) as arrivals:
                yield arrivals

    async def _arrivals(self, events: AsyncIterator[Event]) -> AsyncGenerator[EventArrival, None]:
        async for event in events:
            yield EventArrival(self.intake, event)


class AccountMeter:
    """A `ConnectionMeter` in the metrics of this process."""

    def __init__(self, channel: str) -> None:
        self._channel = channel
        self.connected(is_connected=False)

    def connected(self, *, is_connected: bool) -> None:
        """Set the gauge."""
        metrics.connections.labels(self._channel).set(is_connected)

    def ended(self, reason: str) -> None:
        """Count it."""
        metrics.connections_ended.labels(self._channel, reason).inc()

    def arrived(self, outcome: str) -> None:
        """Count it."""
        metrics.connection_events.labels(self._channel, outcome).inc()
