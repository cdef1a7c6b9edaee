"""What of the stack's configuration concerns this service; read by `main` alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from clawdbot.runtime.config import Config


@dataclass(frozen=True)
class Settings:
    """Typed settings of the executor."""

    concurrency: int
    """Jobs at a time, each with a host uid of its own when the service runs as root."""
    approval_ttl: timedelta = timedelta(seconds=120)
    """How long a person has to answer."""
    bwrap: Path = Path("/usr/bin/bwrap")
    """Absolute: nothing is looked up along a PATH."""
    first_uid: int = 57000
    """First of `concurrency` host uids that nothing else on the host may use."""

    @classmethod
    def of(cls, config: Config) -> Settings:
        """Return the settings in `config`."""
        return cls(
            concurrency=config.executor.concurrency,
            approval_ttl=timedelta(seconds=config.executor.approval_ttl_s),
        )
