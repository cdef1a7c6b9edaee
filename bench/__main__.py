"""`python -m bench`: prints each ratio with its baseline, and whether it holds its target."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from bench import chat, embeddings, gateway, rpc, sockets, turn
from bench.measure import Comparison, Effort
from bench.report import machine, record, table
from clawdbot.runtime.config import Config
from clawdbot.runtime.telemetry import tracing
from clawdbot.schema.errors import ClawdbotError

SCENARIOS: dict[str, Callable[[Effort], Awaitable[list[Comparison]]]] = {
    "gateway": gateway.run,
    "sockets": sockets.run,
    "rpc": rpc.run,
    "turn": turn.run,
    "embeddings": embeddings.run,
    "chat": chat.run,
}
QUICK = Effort(rounds=3, share=0.2)
RESULTS = Path(__file__).parent / "results.json"


def main() -> int:
    """Run what the arguments ask for; exit status 1 when a scenario cannot run."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", choices=SCENARIOS, help="one scenario instead of all")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--out", action="store_true", help=f"write {RESULTS.name} as well")
    arguments = parser.parse_args()
    _forget_settings()
    effort = QUICK if arguments.quick else Effort()
    names = [arguments.only] if arguments.only else list(SCENARIOS)
    # The callers among us carry what every service carries.
    with tracing("bench", Config()), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            report = runner.run(_measure(names, effort))
        except ClawdbotError as exc:
            sys.stderr.write(f"bench: {exc.message}{f'; {exc.fix}' if exc.fix else ''}\n")
            return 1
        except KeyboardInterrupt:
            return 130
    if arguments.out:
        RESULTS.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def _forget_settings() -> None:
    """Measure the defaults, not what this shell happens to configure."""
    for name in [name for name in os.environ if name.startswith("CLAWDBOT_")]:
        del os.environ[name]


async def _measure(names: list[str], effort: Effort) -> dict[str, object]:
    facts: dict[str, object] = {"load_before": os.getloadavg(), **machine()}
    began = time.monotonic()
    found: list[Comparison] = []
    for name in names:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        found += await SCENARIOS[name](effort)
    facts |= {"load_after": os.getloadavg(), "seconds": round(time.monotonic() - began)}
    for key, value in facts.items():
        print(f"{key}: {value}")
    print(f"\n{table(found)}")
    return {"machine": facts, "rounds": effort.rounds, "comparisons": list(map(record, found))}


if __name__ == "__main__":
    sys.exit(main())
