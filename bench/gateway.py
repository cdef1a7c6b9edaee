"""Messages accepted per second: the gateway against FastAPI with one JetStream publish."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count

from bench.load import Load
from bench.measure import Comparison, Effort, Target, interleaved
from bench.processes import ROOT, Durability, Stack, stack
from clawdbot.runtime.secrets import WEBHOOK
from clawdbot.runtime.testing import free_port
from clawdbot.schema.errors import Unavailable

TARGET = Target(0.80)
TRACED = {0.1: Target(0.75), 1.0: Target(0.60)}
"""By the share of traces that are recorded and exported."""
STALLED = Target(1.25, is_floor=False)
"""`Not worse` with room for the noise of a 99th percentile."""
COUNTS: dict[Durability, int] = {"relaxed": 3000, "strict": 1000}
PACED, PER_SECOND = 500, 100.0
_run = count()


async def run(effort: Effort) -> list[Comparison]:
    """Compare rates under both durabilities and with traces, and how long acceptance takes."""
    found = [await _compare(durability, TARGET, effort) for durability in COUNTS]
    for share, target in TRACED.items():
        found.append(await _compare_traced(share, target, effort))
    return [*found, await _compare_stalled(effort)]


async def _compare(
    durability: Durability,
    target: Target,
    effort: Effort,
    name: str = "",
    **sections: dict[str, object],
) -> Comparison:
    messages = effort.count(COUNTS[durability])
    bare_port = free_port()
    async with stack(durability, **sections) as local:
        async with (
            local.process("clawdbot.gateway.main"),
            local.process("bench.bare_gateway", str(bare_port)),
        ):
            ours, bare = await interleaved(
                effort.rounds,
                partial(_load, local, local.config.app.port, messages),
                partial(_load, local, bare_port, messages),
            )
    name = f"gateway, {durability}{name}"
    return Comparison(
        name, "req/s", [one.per_s for one in ours], [one.per_s for one in bare], target
    )


async def _compare_traced(share: float, target: Target, effort: Effort) -> Comparison:
    port = free_port()
    telemetry: dict[str, object] = {
        "otlp_endpoint": f"http://127.0.0.1:{port}",
        "sample_ratio": share,
    }
    async with stack("relaxed") as elsewhere, elsewhere.process("bench.span_sink", str(port)):
        return await _compare(
            "relaxed", target, effort, f", {share:.0%} traced", telemetry=telemetry
        )


async def _compare_stalled(effort: Effort) -> Comparison:
    """Compare how long acceptance takes while no turn gets on with while there are no turns."""
    messages = effort.count(PACED)
    async with stack("relaxed") as local, local.process("clawdbot.gateway.main"):
        paced = partial(_load, local, local.config.app.port, messages, PER_SECOND)
        async with (
            local.process("clawdbot.memory.main"),
            local.process("clawdbot.inference.main") as inference,
            local.process("clawdbot.assistant.main") as assistant,
        ):
            os.kill(inference, signal.SIGSTOP)
            try:
                stalled, without = await interleaved(
                    effort.rounds, paced, partial(_without, assistant, paced)
                )
            finally:
                os.kill(inference, signal.SIGCONT)
    return Comparison(
        "gateway p99, inference stalled",
        "ms",
        [one.p99_ms for one in stalled],
        [one.p99_ms for one in without],
        STALLED,
    )


async def _without(pid: int, measure: Callable[[], Awaitable[Load]]) -> Load:
    os.kill(pid, signal.SIGSTOP)
    try:
        return await measure()
    finally:
        os.kill(pid, signal.SIGCONT)


async def _load(local: Stack, port: int, messages: int, per_s: float | None = None) -> Load:
    pace = [] if per_s is None else [str(per_s)]
    secret = str(local.secrets.directory / WEBHOOK)
    arguments = [str(port), str(messages), f"run{next(_run)}", secret]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.load",
        *arguments,
        *pace,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise Unavailable(f"the load failed:\n{errors.decode(errors='replace')[-2000:]}")
    return Load(**json.loads(output))
