"""One connection for each account: who has it, when it ends, and what becomes of each event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.domain.backoff import LONGEST_S, Backoff
from clawdbot.gateway.domain.rates import Kind, RateLimited
from clawdbot.gateway.handlers.connectors import MOST_FAILURES, Connector, ConnectorPace
from clawdbot.gateway.ports.connectors import InMemoryHolds, RecordingMeter
from clawdbot.schema.errors import ClawdbotError, Overloaded, Rejected, Unavailable

ACCOUNT = "telegram"


class Waits(Backoff):
    """A back-off that does not wait, and notes what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float | None] = []
        self.refusals = 0

    def next_s(self, asked_s: float | None = None) -> float:
        self.asked.append(asked_s)
        return 0.0

    def refused_s(self) -> float:
        self.refusals += 1
        return 3600.0


@dataclass
class Said:
    """An event whose keeping fails as often as it is told to."""

    failures: list[ClawdbotError] = field(default_factory=list)
    gate: asyncio.Event | None = None
    acknowledgement: ClawdbotError | None = None
    log: list[str] = field(default_factory=list)

    async def keep(self) -> None:
        self.log.append("begun")
        if self.gate is not None:
            await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.log.append("kept")

    async def acknowledge(self) -> None:
        if self.acknowledgement is not None:
            raise self.acknowledgement
        self.log.append("acknowledged")

    async def refuse(self) -> None:
        self.log.append("refused")


class Scripted:
    """A feed whose connections are told beforehand: why they fail, or what they say.

    Attributes:
        opened: how many there were.
        is_open: whether there is one now.
    """

    def __init__(self, *connections: ClawdbotError | list[Said]) -> None:
        self._connections = list(connections)
        self.opened = 0
        self.is_open = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[Said]]:
        self.opened += 1
        script = self._connections.pop(0) if self._connections else None
        if isinstance(script, ClawdbotError):
            raise script
        self.is_open = True
        try:
            yield self._say(script)
        finally:
            self.is_open = False

    async def _say(self, script: list[Said] | None) -> AsyncGenerator[Said, None]:
        for said in script or []:
            yield said
        if script is None or not self._connections:
            await asyncio.Event().wait()


@dataclass
class Stage:
    holds: InMemoryHolds = field(default_factory=InMemoryHolds)
    meter: RecordingMeter = field(default_factory=RecordingMeter)
    waits: Waits = field(default_factory=Waits)
    limited_s: float = 10.0

    def connector(self, feed: Scripted) -> Connector:
        pace = ConnectorPace(0.001, 1.0, self.limited_s, 0.001, lambda: self.waits)
        return Connector(ACCOUNT, feed, self.holds, self.meter, pace)

    @asynccontextmanager
    async def running(self, feed: Scripted) -> AsyncIterator[Connector]:
        connector = self.connector(feed)
        task = asyncio.create_task(connector.run())
        try:
            yield connector
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_an_event_is_acknowledged_once_it_is_kept_however_often_that_fails(
    stage: Stage,
) -> None:
    first = Said([Unavailable("no broker"), RateLimited(Kind.SENDER, 0.01)])
    second = Said()

    async with stage.running(Scripted([first, second])):
        await until(lambda: second.log)

    assert first.log == ["begun", "begun", "begun", "kept", "acknowledged"]
    assert stage.meter.arrivals == {"kept": 2}


async def test_an_event_that_stays_over_a_limit_or_cannot_be_read_is_refused_and_counted(
    stage: Stage,
) -> None:
    limited, unreadable, last = (
        Said([RateLimited(Kind.SENDER, 60)]),
        Said([Rejected("what?")]),
        Said(),
    )

    async with stage.running(Scripted([limited, unreadable, last])):
        await until(lambda: "acknowledged" in last.log)

    assert limited.log == unreadable.log == ["begun", "refused"]
    assert stage.meter.arrivals == {"refused": 2, "kept": 1}


async def test_what_cannot_be_acknowledged_ends_the_connection(stage: Stage) -> None:
    lost, again = Said(acknowledgement=Unavailable("gone")), Said()

    async with stage.running(Scripted([lost], [again])):
        await until(lambda: "acknowledged" in again.log)

    assert lost.log == ["begun", "kept"]
    assert stage.meter.ends == ["unavailable"]


async def test_of_two_connectors_one_is_connected_and_the_other_takes_over(stage: Stage) -> None:
    one, other = Scripted(), Scripted()
    task = asyncio.create_task(stage.connector(one).run())
    await until(lambda: one.is_open)

    async with stage.running(other):
        await asyncio.sleep(0.02)
        assert other.opened == 0
        task.cancel()
        await until(lambda: other.is_open)

    assert (one.opened, one.is_open) == (1, False)


async def test_stopping_finishes_what_is_being_kept_and_then_lets_the_next_one_in(
    stage: Stage,
) -> None:
    gate = asyncio.Event()
    said = Said(gate=gate)
    feed = Scripted([said])
    task = asyncio.create_task(stage.connector(feed).run())
    await until(lambda: said.log)

    task.cancel()
    await asyncio.sleep(0.01)
    assert ACCOUNT in stage.holds.held
    gate.set()
    with suppress(asyncio.CancelledError):
        await task

    assert said.log == ["begun", "kept", "acknowledged"]
    assert (stage.holds.held, feed.is_open, stage.meter.is_connected) == ({}, False, False)


async def test_a_lost_hold_ends_the_connection_after_the_event_that_is_being_kept(
    stage: Stage,
) -> None:
    gate = asyncio.Event()
    said = Said(gate=gate)
    feed = Scripted([said], [])

    async with stage.running(feed):
        await until(lambda: said.log)
        stage.holds.held[ACCOUNT].lose()
        gate.set()
        await until(lambda: feed.opened == 2)

    assert said.log == ["begun", "kept", "acknowledged"]
    assert stage.meter.ends == ["hold_lost"]


async def test_a_revoked_token_is_told_with_its_fix_and_not_tried_again_soon(stage: Stage) -> None:
    feed = Scripted(Rejected("the token is revoked", fix="make a new one"))

    async with stage.running(feed) as connector:
        await until(lambda: connector.reason())
        await asyncio.sleep(0.02)
        assert connector.reason() == (
            "telegram is not connected: the token is revoked; make a new one"
        )

    assert (feed.opened, stage.waits.refusals) == (1, 1)


async def test_after_some_failures_in_a_row_another_gateway_may_try(stage: Stage) -> None:
    cut_off = Scripted(*[Unavailable("no route")] * 1000)
    well_connected = Scripted()
    task = asyncio.create_task(stage.connector(cut_off).run())
    await until(lambda: cut_off.opened >= MOST_FAILURES)

    async with stage.running(well_connected):
        await until(lambda: well_connected.is_open)
        tried = cut_off.opened
        await asyncio.sleep(0.02)
        assert cut_off.opened == tried

    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_platform_that_asks_to_wait_is_waited_for(stage: Stage) -> None:
    feed = Scripted(Overloaded("slow down", retry_after_s=7), [])

    async with stage.running(feed) as connector:
        await until(lambda: feed.is_open)
        assert connector.reason() is None

    assert stage.waits.asked == [7]


async def test_a_connection_that_the_platform_closes_is_opened_again(stage: Stage) -> None:
    feed = Scripted([Said()], [])

    async with stage.running(feed):
        await until(lambda: feed.opened == 2)

    assert stage.meter.ends == ["closed"]


@given(st.integers(0, 2000), st.floats(0, 1), st.floats(0, 3600))
def test_waits_have_full_jitter_within_their_bounds(
    failures: int, draw: float, asked_s: float
) -> None:
    backoff = Backoff(lambda low, high: low + draw * (high - low))
    backoff.failures = failures

    assert 1 <= backoff.next_s() <= LONGEST_S
    assert backoff.next_s(asked_s) >= asked_s
    assert 150 <= backoff.refused_s() <= 300
