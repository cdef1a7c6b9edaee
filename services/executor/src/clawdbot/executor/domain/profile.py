"""Under which limits a job runs. A profile is part of the plan, and hashed with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

MIB = 1024 * 1024


@dataclass(frozen=True)
class Profile:
    """The limits of one job; every one of them is of the whole process tree unless it says else."""

    name: str
    version: int
    """Raised with every change, so that an approval of the old limits does not cover the new."""
    memory_bytes: int = 256 * MIB
    """Swap included. Per process where the host gives the executor no cgroup."""
    pids: int = 64
    tmp_bytes: int = 64 * MIB
    """What /tmp and /dev/shm may hold together."""
    tmp_inodes: int = 8192
    output_bytes: int = MIB
    """Standard output and standard error together; the job is killed at the first byte over."""
    wall_s: float = 10.0
    cpu_s: int = 10
    """CPU seconds per process."""
    open_files: int = 256
    """Per process."""
    environment: dict[str, str] = field(
        default_factory=lambda: {"HOME": "/tmp", "LANG": "C.UTF-8", "PATH": "/usr/bin"}  # noqa: S108 -- the job's own tmpfs
    )
    network: str = "none"
    """The only network there is today: a namespace of its own with nothing in it."""

    def canonical(self) -> dict[str, Any]:
        """Return the profile as it enters the plan hash."""
        return asdict(self)


PURE = Profile(name="pure", version=1)
"""No files, no network: reads what its arguments say and the read-only system."""

PROFILES = {profile.name: profile for profile in (PURE,)}
