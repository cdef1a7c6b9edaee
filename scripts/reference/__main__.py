"""Writes the generated documents, or with `--check` says which of them are stale."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from clawdbot.gateway.adapters import openapi
from scripts.reference import asyncapi, bus, cli, configuration, metrics
from scripts.reference.sources import ROOT

COMMAND = "python -m scripts.reference"
DOCUMENTS: dict[str, Callable[[], str]] = {
    "asyncapi.yaml": asyncapi.document,
    "bus.md": bus.document,
    "cli.md": cli.document,
    "configuration.md": configuration.document,
    "metrics.md": metrics.document,
    "openapi.yaml": openapi.document_text,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit status: 1 when `--check` finds a document that the code contradicts."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where they are kept")
    options = parser.parse_args(arguments)
    return check(options.docs) if options.check else write(options.docs)


def write(docs: Path) -> int:
    """Write every document into `docs`."""
    docs.mkdir(parents=True, exist_ok=True)
    for name, document in DOCUMENTS.items():
        (docs / name).write_text(document(), encoding="utf-8")
    return 0


def check(docs: Path) -> int:
    """Name each document of `docs` that differs from what the code says."""
    stale = [name for name, document in DOCUMENTS.items() if _read(docs / name) != document()]
    for name in stale:
        print(f"{docs.name}/{name} is stale: run `{COMMAND}`", file=sys.stderr)
    return 1 if stale else 0


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


if __name__ == "__main__":
    sys.exit(main())
