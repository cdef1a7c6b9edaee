"""What a job can see of its own sandbox, read back as guarantees."""

from __future__ import annotations

import re
from collections.abc import Iterator

from clawdbot.executor.domain.capabilities import Guarantee, Level

SELF_REPORT = (
    "/usr/bin/cat",
    "--",
    "/proc/self/status",
    "/proc/self/mountinfo",
    "/proc/self/net/dev",
)
"""Run in the full profile at start; its output is what `seen` reads."""

SLEEP = ("/usr/bin/sleep", "60")
"""Killed at start, to see that killing works."""

ESSENTIAL = frozenset(Guarantee) - {
    Guarantee.TREE_MEMORY,
    Guarantee.TREE_PIDS,
    Guarantee.OWN_USER,
}
"""Without these there is no sandbox; the others depend on what the host gives the service."""

_FIRST_PIDS = range(1, 10)


def seen(report: str) -> frozenset[Guarantee]:
    """Return the guarantees that a job's own report of `SELF_REPORT` shows to hold."""
    return frozenset(_seen(report))


def _seen(report: str) -> Iterator[Guarantee]:
    status = dict(re.findall(r"^(\w+):\t(.*)$", report, re.MULTILINE))
    mounts = dict(_mounts(report))
    interfaces = re.findall(r"^ *([^ :|]+): +\d", report, re.MULTILINE)
    if int(status.get("Seccomp", "0")) == 2:
        yield Guarantee.SYSCALL_FILTER
    if status.get("NoNewPrivs") == "1" and not _has_capabilities(status):
        yield Guarantee.NO_PRIVILEGE
    if int(status.get("Pid", "0")) in _FIRST_PIDS and _read_only(mounts, "/proc"):
        yield Guarantee.FRESH_PROC
    if all(_read_only(mounts, point) for point in ("/", "/usr", "/dev")):
        yield Guarantee.READ_ONLY_ROOT
    if all("nr_inodes=" in mounts.get(point, "") for point in ("/tmp", "/dev/shm")):  # noqa: S108 -- the job's own
        yield Guarantee.DISK
    if interfaces == ["lo"]:
        yield Guarantee.NO_NETWORK


def _mounts(report: str) -> Iterator[tuple[str, str]]:
    """Yield each mount point with its options and those of its file system."""
    pattern = r"^\d+ \d+ \d+:\d+ \S+ (\S+) (\S+) .*- \S+ \S+ (\S+)$"
    for point, options, super_options in re.findall(pattern, report, re.MULTILINE):
        yield point, f"{options} {super_options}"


def _read_only(mounts: dict[str, str], point: str) -> bool:
    return mounts.get(point, "").startswith("ro,")


def _has_capabilities(status: dict[str, str]) -> bool:
    return any(int(status.get(name, "1"), 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb"))


def levels(
    held: frozenset[Guarantee], *, has_cgroup: bool, has_own_user: bool
) -> dict[Guarantee, Level]:
    """Return how far each guarantee holds, given what was seen and what the host allows."""
    found = {g: Level.ENFORCED if g in held else Level.NO for g in ESSENTIAL}
    weaker = {True: Level.ENFORCED, False: Level.BEST_EFFORT}
    return found | {
        Guarantee.TREE_MEMORY: weaker[has_cgroup],
        Guarantee.TREE_PIDS: weaker[has_cgroup or has_own_user],
        Guarantee.OWN_USER: Level.ENFORCED if has_own_user else Level.NO,
    }
