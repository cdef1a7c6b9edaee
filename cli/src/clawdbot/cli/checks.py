"""What this machine lacks, as far as it can be seen without starting anything."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass

from clawdbot.cli import models
from clawdbot.runtime.config import Config

INSTALL_BWRAP = "sudo apt-get install -y bubblewrap"


@dataclass(frozen=True)
class Lack:
    """Something is missing, and the stack starts all the same."""

    what: str
    fix: str


def lacks(config: Config) -> list[Lack]:
    """Return what the stack would miss on this machine."""
    return [*_sandbox(), *_models(config)]


def _sandbox() -> list[Lack]:
    if sys.platform == "linux" and shutil.which("bwrap") is None:
        what = "bubblewrap is not installed: the executor refuses to run anything without it"
        return [Lack(what, INSTALL_BWRAP)]
    return []


def _models(config: Config) -> list[Lack]:
    return [
        Lack(f"the model {name} is missing: inference is not ready", models.how_to_get(name))
        for name in models.missing(config.models)
    ]
