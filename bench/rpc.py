"""The way of a call: `Bus.call` to a runtime handler against raw nats-py request and reply."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

from bench.echo import ECHO, MODEL, RAW_SUBJECT, TEXT, Echo
from bench.measure import Comparison, Effort, Target, interleaved, percentile
from bench.processes import stack
from clawdbot.runtime.bus import Bus
from clawdbot.schema.codec import encode
from clawdbot.schema.deadline import Deadline

TARGET = Target(1.25, is_floor=False)
COUNTS = {1: 1000, 32: 6000}
"""Calls per round, by how many are outstanding at a time."""


async def run(effort: Effort) -> list[Comparison]:
    """Compare the medians of the times that calls take."""
    async with stack("relaxed") as local:
        async with local.process("bench.responder"), local.bus("gateway") as bus:
            return [
                await _compare(bus, outstanding, full, effort)
                for outstanding, full in COUNTS.items()
            ]


async def _compare(bus: Bus, outstanding: int, full: int, effort: Effort) -> Comparison:
    request = Echo(text=TEXT)
    data = encode(request)

    async def call() -> None:
        await bus.call(ECHO, request, deadline=Deadline.after(10), target=MODEL)

    async def bare() -> None:
        await bus.client.request(RAW_SUBJECT, data, timeout=10)

    calls = effort.count(full)
    ours, raw = await interleaved(
        effort.rounds,
        partial(_median_ms, call, calls, outstanding),
        partial(_median_ms, bare, calls, outstanding),
    )
    return Comparison(f"rpc p50, {outstanding} outstanding", "ms", ours, raw, TARGET)


async def _median_ms(call: Callable[[], Awaitable[None]], calls: int, outstanding: int) -> float:
    took: list[float] = []

    async def caller() -> None:
        for _ in range(max(1, calls // outstanding)):
            began = time.perf_counter()
            await call()
            took.append(time.perf_counter() - began)

    await asyncio.gather(*(caller() for _ in range(outstanding)))
    return 1000 * percentile(took, 0.5)
