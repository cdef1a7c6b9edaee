"""Two gateways' counts, told over a real broker with the gateway's own permissions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from clawdbot.gateway.adapters.rate_exchange import SILENCE_S, RateExchange
from clawdbot.gateway.domain.buckets import Limit
from clawdbot.gateway.domain.rates import Kind, RateLimited, Rates
from clawdbot.runtime.testing import LocalBus, local_bus
from clawdbot.schema import subjects
from clawdbot.schema.edge import EdgeCount, EdgeCounts
from clawdbot.schema.messages import DeltaEnd

pytestmark = [pytest.mark.integration, pytest.mark.broker]

# Nothing leaks while a test lasts, so that only what is told can differ.
LIMIT = Limit(per_s=1e-6, burst=8)
FLOOD = (Kind.SENDER, "acme.flood")


@dataclass
class Replica:
    rates: Rates
    exchange: RateExchange

    def take(self, key: tuple[Kind, str]) -> bool:
        try:
            self.rates.take([key], 0.0)
        except RateLimited:
            return False
        return True

    def is_full(self, key: tuple[Kind, str]) -> bool:
        if not self.take(key):
            return True
        self.rates.give_back(*key, 0.0)
        return False


@asynccontextmanager
async def replica(local: LocalBus, now: Callable[[], float]) -> AsyncIterator[Replica]:
    async with local.bus("gateway") as bus:
        rates = Rates({Kind.SENDER: LIMIT}, 1024)
        exchange = RateExchange(bus, rates, now=now)
        running = asyncio.create_task(exchange.run())
        try:
            yield Replica(rates, exchange)
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


async def test_what_one_gateway_counted_another_knows(tmp_path: Path) -> None:
    async with (
        local_bus(tmp_path) as local,
        replica(local, lambda: 0.0) as one,
        replica(local, lambda: 0.0) as other,
    ):
        while one.take(FLOOD):
            pass

        await until(lambda: other.is_full(FLOOD))

        assert not other.is_full((Kind.SENDER, "acme.quiet"))


async def test_what_nobody_understands_does_not_end_the_exchange(tmp_path: Path) -> None:
    async with local_bus(tmp_path) as local, replica(local, lambda: 0.0) as one:
        async with local.bus("gateway") as bus:
            await bus.broadcast(subjects.edge_counts(), DeltaEnd(message_id="m", count=1))
            await bus.client.publish(
                subjects.edge_counts(), b"\xff", headers={"Claw-Schema": EdgeCounts.SCHEMA}
            )
            unknown = EdgeCount(kind="of-a-later-version", key="k", count=1)
            known = EdgeCount(kind="sender", key=FLOOD[1], count=8)
            report = EdgeCounts(replica="another", counts=(unknown, known))

            await bus.broadcast(subjects.edge_counts(), report)

            await until(lambda: one.is_full(FLOOD))


async def test_the_exchange_works_only_while_our_own_words_are_heard(tmp_path: Path) -> None:
    now = [0.0]
    async with local_bus(tmp_path) as local, replica(local, lambda: now[0]) as one:
        await local.broker.kill()
        now[0] = SILENCE_S + 1
        assert not one.exchange.is_working()
        assert "claw.edge.counts" in (one.exchange.reason() or "")

        await local.broker.start()

        await until(one.exchange.is_working)
        assert one.exchange.reason() is None
