"""Options that every verb shares."""

from __future__ import annotations

from pathlib import Path

import typer

DEFAULT_CONFIG = Path("config.yaml")


def config_path(context: typer.Context) -> Path:
    """Return the file that `--config` or `CLAWDBOT_CONFIG` names, else `./config.yaml`."""
    chosen = context.obj
    return chosen if isinstance(chosen, Path) else DEFAULT_CONFIG
