"""The result as a table and as JSON, with the machine it was measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from statistics import median

from bench.measure import Comparison
from clawdbot.runtime.broker import find_nats_server

LIBRARIES = ("nats-py", "fastapi", "uvicorn", "pydantic", "onnxruntime", "uvloop")
HEADINGS = ("what", "unit", "ours", "baseline", "ratio", "spread", "baseline +-", "target", "")


def machine() -> dict[str, object]:
    """Return what the figures depend on besides us."""
    server = subprocess.run(
        [find_nats_server(), "--version"], capture_output=True, text=True, check=True
    )
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "nats-server": server.stdout.strip().rpartition(" ")[2],
        **{name: version(name) for name in LIBRARIES},
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def table(comparisons: Sequence[Comparison]) -> str:
    """Return one line per comparison below headings, in columns."""
    rows = [HEADINGS, *map(_row, comparisons)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _row(comparison: Comparison) -> tuple[str, ...]:
    low, high = comparison.spread
    return (
        comparison.name,
        comparison.unit,
        f"{median(comparison.ours):.4g}",
        f"{median(comparison.bare):.4g}",
        f"{comparison.ratio:.2f}",
        f"{low:.2f} to {high:.2f}",
        f"{comparison.variation:.0%}",
        "" if comparison.target is None else str(comparison.target),
        comparison.verdict.value,
    )


def record(comparison: Comparison) -> dict[str, object]:
    """Return a comparison for a program to read."""
    return {
        **asdict(comparison),
        "target": None if comparison.target is None else str(comparison.target),
        "ratio": comparison.ratio,
        "spread": comparison.spread,
        "baseline_variation": comparison.variation,
        "verdict": comparison.verdict.value,
    }
