"""What a sandbox promises, each guarantee by itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Guarantee(StrEnum):
    """One property that an instruction may demand."""

    TREE_MEMORY = "tree_memory"
    """The memory of all processes of the job together is capped."""
    TREE_PIDS = "tree_pids"
    """The number of processes of the job is capped, whatever other jobs do."""
    DISK = "disk"
    """What the job writes is capped in bytes and in inodes, and is gone afterwards."""
    NO_NETWORK = "no_network"
    READ_ONLY_ROOT = "read_only_root"
    FRESH_PROC = "fresh_proc"
    """/proc shows the job's processes and no others, and cannot be written."""
    SYSCALL_FILTER = "syscall_filter"
    NO_PRIVILEGE = "no_privilege"
    """No capability, no way to gain one, not root outside the sandbox."""
    OWN_USER = "own_user"
    """The job shares its host uid with neither the service nor another running job."""
    KILL_ALL = "kill_all"
    """Ending the job ends every process it started."""


class Level(StrEnum):
    """How far a guarantee holds."""

    ENFORCED = "enforced"
    BEST_EFFORT = "best effort"
    NO = "no"


@dataclass(frozen=True)
class Capabilities:
    """What a backend was seen to do when its full profile was run."""

    backend: str
    usable: bool
    reason: str = ""
    """Why it is not usable, for a person; or which guarantee is weaker, and why."""
    levels: Mapping[Guarantee, Level] = field(default_factory=dict)

    def missing(self, required: Iterable[Guarantee]) -> frozenset[Guarantee]:
        """Return those of `required` that are not enforced."""
        return frozenset(g for g in required if self.levels.get(g) is not Level.ENFORCED)
