"""Messages accepted per second: the gateway against FastAPI with one JetStream publish."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from itertools import count

from bench.measure import Comparison, Effort, Target, interleaved
from bench.processes import ROOT, Durability, Stack, stack
from clawdbot.runtime.secrets import WEBHOOK
from clawdbot.runtime.testing import free_port
from clawdbot.schema.errors import Unavailable

TARGET = Target(0.80)
COUNTS: dict[Durability, int] = {"relaxed": 3000, "strict": 1000}
_run = count()


async def run(effort: Effort) -> list[Comparison]:
    """Compare under both durabilities."""
    return [await _compare(durability, effort) for durability in COUNTS]


async def _compare(durability: Durability, effort: Effort) -> Comparison:
    messages = effort.count(COUNTS[durability])
    bare_port = free_port()
    async with stack(durability) as local:
        async with (
            local.process("clawdbot.gateway.main"),
            local.process("bench.bare_gateway", str(bare_port)),
        ):
            ours, bare = await interleaved(
                effort.rounds,
                partial(_rate, local, local.config.app.port, messages),
                partial(_rate, local, bare_port, messages),
            )
    return Comparison(f"gateway, {durability}", "req/s", ours, bare, TARGET)


async def _rate(local: Stack, port: int, messages: int) -> float:
    arguments = [str(port), str(messages), f"run{next(_run)}"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.load",
        *arguments,
        local.secrets.directory / WEBHOOK,
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
    return float(output)
