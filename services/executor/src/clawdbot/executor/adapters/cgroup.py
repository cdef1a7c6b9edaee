"""Memory and process limits of a whole job, by cgroup, version 1 or 2, where we may write one.

Without one nothing here pretends: `detect` says why, and the sandbox then claims less.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PREFIX = "clawdbot-executor-"
_REMOVAL_S = 5.0
"""How long the kernel may take to empty a group whose processes were killed."""


@dataclass(frozen=True)
class JobGroup:
    """The cgroups of one job: one directory in version 2, one per controller in version 1."""

    version: int
    directories: tuple[Path, ...]

    @property
    def entrances(self) -> tuple[str, ...]:
        """Files to which a process of one thread writes `0` to enter."""
        # Version 1 lets a thread enter by itself; that spares a lock on every fork of the host,
        # which was seen to cost as much as the whole start of a sandbox.
        name = "cgroup.procs" if self.version == 2 else "tasks"
        return tuple(str(directory / name) for directory in self.directories)

    def memory_kills(self) -> int:
        """Return how many processes the kernel killed because memory ran out."""
        for directory in self.directories:
            for name in ("memory.events", "memory.oom_control"):
                counters = _counters(directory / name)
                if "oom_kill" in counters:
                    return counters["oom_kill"]
        return 0

    async def remove(self) -> None:
        """Remove the group, and kill what is still in it.

        Raises:
            OSError: it does not become empty.
        """
        deadline = time.monotonic() + _REMOVAL_S
        for directory in self.directories:
            while not _removed(directory):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{directory} does not become empty")
                await asyncio.sleep(0.001)


@dataclass(frozen=True)
class JobGroups:
    """Makes a group for each job below a directory of our own in every controller."""

    version: int
    parents: tuple[Path, ...]
    """Version 2: one. Version 1: memory, then pids."""

    def create(self, job: str, memory_bytes: int, pids: int) -> JobGroup:
        """Return a new group with its limits set.

        Raises:
            OSError: the kernel refuses the directory or a limit.
        """
        group = JobGroup(self.version, tuple(parent / job for parent in self.parents))
        for directory in group.directories:
            directory.mkdir()
        self._limit(group, memory_bytes, pids)
        return group

    def _limit(self, group: JobGroup, memory_bytes: int, pids: int) -> None:
        memory, processes = group.directories[0], group.directories[-1]
        if self.version == 2:
            _write(memory / "memory.max", str(memory_bytes))
            _write_if_there(memory / "memory.swap.max", "0")
            _write_if_there(memory / "memory.oom.group", "1")
        else:
            _write(memory / "memory.limit_in_bytes", str(memory_bytes))
            _write_if_there(memory / "memory.memsw.limit_in_bytes", str(memory_bytes))
        _write(processes / "pids.max", str(pids))

    def close(self) -> None:
        """Remove our own directories, with whatever empty groups they still hold."""
        for parent in self.parents:
            _remove_tree(parent)


def _removed(directory: Path) -> bool:
    try:
        directory.rmdir()
    except OSError:
        for pid in (directory / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        return False
    return True


def detect(proc: Path = Path("/proc/self")) -> JobGroups | str:
    """Return where job groups can be made, or the reason why nowhere.

    Makes a directory for this process and removes those of executors that are gone.
    """
    try:
        version, homes = _homes(proc)
        for home in homes:
            _sweep(home)
        groups = JobGroups(version, tuple(home / f"{_PREFIX}{os.getpid()}" for home in homes))
        _open(groups)
    except (OSError, LookupError) as exc:
        return f"no writable cgroup with memory and pids: {exc}"
    return groups


def _open(groups: JobGroups) -> None:
    for parent in groups.parents:
        if groups.version == 2:
            _delegate(parent.parent)
        parent.mkdir(exist_ok=True)
        if groups.version == 2:
            _write(parent / "cgroup.subtree_control", "+memory +pids")


def _delegate(home: Path) -> None:
    if {"memory", "pids"} <= set((home / "cgroup.subtree_control").read_text().split()):
        return
    # A version 2 group that hands controllers down may hold no process itself. We step aside
    # into a leaf, but only when nobody else lives here.
    members = (home / "cgroup.procs").read_text().split()
    if members == [str(os.getpid())]:
        leaf = home / "clawdbot-executor-service"
        leaf.mkdir(exist_ok=True)
        _write(leaf / "cgroup.procs", str(os.getpid()))
    _write(home / "cgroup.subtree_control", "+memory +pids")


def _homes(proc: Path) -> tuple[int, tuple[Path, ...]]:
    """Return the cgroup version and the directories that this process lives in."""
    own = _memberships(proc)
    mounts = dict(_mounts(proc))
    if "memory" in own and "pids" in own:
        return 1, tuple(_join(mounts[name], own[name]) for name in ("memory", "pids"))
    home = _join(mounts[""], own[""])
    available = (home / "cgroup.controllers").read_text().split()
    if not {"memory", "pids"} <= set(available):
        raise LookupError("the controllers are not available")
    return 2, (home,)


def _memberships(proc: Path) -> dict[str, str]:
    lines = (line.split(":", 2) for line in (proc / "cgroup").read_text().splitlines())
    return {name: path for _, names, path in lines for name in names.split(",")}


def _mounts(proc: Path) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield each controller (empty for version 2) with its mount point and the root shown there."""
    for line in (proc / "mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        root, point = left.split(" ")[3:5]
        if kind == "cgroup2":
            yield "", (root, point)
        elif kind == "cgroup":
            for option in options.split(","):
                yield option, (root, point)


def _join(mount: tuple[str, str], own: str) -> Path:
    root, point = mount
    # In a container the mount shows a subtree, while the membership may be told from its root.
    inside = own.removeprefix(root) if root != "/" else own
    return Path(point) / inside.lstrip("/")


def _sweep(home: Path) -> None:
    for left in home.glob(f"{_PREFIX}*"):
        owner = left.name.removeprefix(_PREFIX)
        if owner.isdigit() and not Path("/proc", owner).exists():
            _remove_tree(left)


def _remove_tree(directory: Path) -> None:
    # A group that still holds a process stays; it is somebody's evidence, not ours to empty.
    with suppress(OSError):
        for child in directory.iterdir():
            if child.is_dir():
                child.rmdir()
        directory.rmdir()


def _counters(file: Path) -> dict[str, int]:
    try:
        lines = file.read_text().splitlines()
    except FileNotFoundError:
        return {}
    return {name: int(value) for name, value in (line.split() for line in lines)}


def _write(file: Path, value: str) -> None:
    file.write_text(value)


def _write_if_there(file: Path, value: str) -> None:
    if file.exists():
        _write(file, value)
