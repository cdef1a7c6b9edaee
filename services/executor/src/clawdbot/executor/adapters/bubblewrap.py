"""The bubblewrap sandbox: probes itself by running, and runs plans."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import platform
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from clawdbot.executor.adapters import bubblewrap_probe as probing
from clawdbot.executor.adapters import metrics
from clawdbot.executor.adapters.bubblewrap_command import bubblewrap_command, unfit
from clawdbot.executor.adapters.cgroup import JobGroup, JobGroups, detect
from clawdbot.executor.adapters.job import Bounds, JobStuck, run_job
from clawdbot.executor.adapters.launcher import Launcher, Order
from clawdbot.executor.adapters.seccomp import filter_program
from clawdbot.executor.adapters.slots import Slot, Slots
from clawdbot.executor.adapters.syscalls import MACHINES
from clawdbot.executor.domain.capabilities import Capabilities, Guarantee
from clawdbot.executor.domain.plan import Plan
from clawdbot.executor.domain.profile import PURE, Profile
from clawdbot.executor.domain.result import Result
from clawdbot.executor.ports import NotStarted, RunPlan
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.executor import Outcome

log = logging.getLogger(__name__)

BACKEND = "bubblewrap"

_OWN_PROCESSES = 2
"""bubblewrap itself and the sandbox's first process count against the job's limits."""
_PROBE_WALL_S = 0.2
_LOCKED_BYTES = 64 * 1024
_NO_SLOT = "the cgroups of earlier jobs do not become empty, and no slot is left without one"


@dataclass(frozen=True)
class BubblewrapOptions:
    """What the operator decides about the sandbox."""

    bwrap: Path = Path("/usr/bin/bwrap")
    slots: int = 4
    """Jobs at a time."""
    first_uid: int = 57000
    """As root, jobs run as this uid and the next ones, one per slot; nobody else may use them."""


class BubblewrapSandbox:
    """Runs each plan in namespaces of its own, and leaves nothing behind.

    Refuses everything until `probe` has seen the full profile work.
    """

    def __init__(self, options: BubblewrapOptions) -> None:
        self._options = options
        self._jobs = itertools.count(1)
        self._slots = Slots(options.slots)
        self._cancels: dict[str, asyncio.Future[None]] = {}
        self._launcher: Launcher | None = None
        self._groups: JobGroups | None = None
        self._program = b""
        self._found = Capabilities(BACKEND, usable=False, reason="not probed yet")

    @classmethod
    @asynccontextmanager
    async def open(cls, options: BubblewrapOptions) -> AsyncIterator[BubblewrapSandbox]:
        """Give a probed sandbox, usable or not, and close it at the end."""
        sandbox = cls(options)
        try:
            found = await sandbox.probe()
            level = logging.INFO if found.usable else logging.ERROR
            held = {guarantee.value: how.value for guarantee, how in found.levels.items()}
            log.log(level, "sandbox probed", extra={"problem": found.reason, "guarantees": held})
            yield sandbox
        finally:
            await sandbox.aclose()

    async def probe(self) -> Capabilities:
        """Run the full profile and return what it was seen to do; never raises for a bad host."""
        try:
            weakness = await self._prepare()
            self._found = await self._observe(weakness)
        except Unavailable as exc:
            self._found = Capabilities(BACKEND, usable=False, reason=exc.message)
        return self._found

    @property
    def capabilities(self) -> Capabilities:
        """What the last probe saw, as long as there is room to run anything."""
        if self._found.usable and self._slots.usable_count == 0:
            return replace(self._found, usable=False, reason=_NO_SLOT)
        return self._found

    @property
    def problem(self) -> str | None:
        """Why nothing can be run, or None."""
        found = self.capabilities
        return None if found.usable else found.reason

    @property
    def weakness(self) -> str | None:
        """What holds less than it could on this host, or None."""
        found = self.capabilities
        return found.reason if found.usable and found.reason else None

    @asynccontextmanager
    async def slot(self, job: str) -> AsyncIterator[RunPlan]:
        """Wait for room for one job and lend it.

        Raises:
            Unavailable: the sandbox does not work here.
        """
        if self.problem is not None:
            raise Unavailable(f"no working sandbox: {self.problem}")
        cancelled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._cancels[job] = cancelled
        try:
            async with self._slots.lend(cancelled) as slot:
                yield partial(self._run_plan, slot, cancelled)
        finally:
            del self._cancels[job]

    async def _run_plan(
        self, slot: Slot | None, cancelled: asyncio.Future[None], plan: Plan, at_most_s: float
    ) -> Result:
        if slot is None or cancelled.done():
            return Result(Outcome.CANCELLED, None, b"", b"", truncated=False, duration_s=0.0)
        profile = replace(plan.profile, wall_s=min(plan.profile.wall_s, at_most_s))
        with metrics.jobs_running.track_inprogress():
            result = await self._run(slot, plan.argv, profile, cancelled)
        metrics.jobs.labels(plan.instruction, result.outcome).inc()
        metrics.job_seconds.labels(plan.instruction).observe(result.duration_s)
        return result

    def cancel(self, job: str) -> bool:
        """End a job as `CANCELLED`: killed if it runs, never started if it waits."""
        cancelled = self._cancels.get(job)
        if cancelled is None:
            return False
        if not cancelled.done():
            cancelled.set_result(None)
        return True

    async def died(self) -> None:
        """Wait until the sandbox can run nothing any more, though it once could."""
        if self._launcher is None:
            await asyncio.Event().wait()
        else:
            await self._launcher.died()

    async def aclose(self) -> None:
        """Kill every job and remove what the sandbox keeps on the host."""
        self._found = replace(self._found, usable=False, reason="closed")
        if self._launcher is not None:
            await self._launcher.aclose()
        if self._groups is not None:
            self._groups.close()

    async def _prepare(self) -> str:
        """Open what runs need; return what is weaker than it could be."""
        if sys.platform != "linux":
            raise Unavailable("bubblewrap needs Linux; the container backend is not available yet")
        if platform.machine() not in MACHINES:
            raise Unavailable(f"no system call filter for {platform.machine()!r}")
        self._program = filter_program(platform.machine())
        reason = unfit(self._options.bwrap)
        if reason is not None:
            raise Unavailable(reason)
        found = detect() if self._groups is None else self._groups
        self._groups = found if isinstance(found, JobGroups) else None
        if self._launcher is None:
            self._launcher = await Launcher.open()
        return found if isinstance(found, str) else ""

    async def _observe(self, weakness: str) -> Capabilities:
        never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        async with self._slots.lend(never) as slot:
            if slot is None:
                raise Unavailable(_NO_SLOT)
            report = await self._run(slot, probing.SELF_REPORT, PURE, never)
            short = replace(PURE, wall_s=_PROBE_WALL_S)
            slept = await self._run(slot, probing.SLEEP, short, never)
        held = set(probing.seen(report.stdout.decode(errors="replace")))
        if slept.outcome is Outcome.TIMED_OUT:
            held.add(Guarantee.KILL_ALL)
        levels = probing.levels(
            frozenset(held), has_cgroup=self._groups is not None, has_own_user=_is_root()
        )
        missing = sorted(probing.ESSENTIAL - held)
        reason = f"the sandbox does not hold: {', '.join(missing)}" if missing else weakness
        return Capabilities(BACKEND, usable=not missing, reason=reason, levels=levels)

    async def _run(
        self, slot: Slot, argv: tuple[str, ...], profile: Profile, cancelled: asyncio.Future[None]
    ) -> Result:
        launcher = self._launcher
        if launcher is None:
            raise NotStarted("the sandbox is not open")
        name = f"job-{next(self._jobs)}"
        async with self._group(name, slot, profile) as group:
            order = self._order(name, slot, group, argv, profile)
            try:
                return await run_job(
                    launcher, order, Bounds(profile, cancelled, group), self._program
                )
            except JobStuck:
                await launcher.aclose()
                raise

    @asynccontextmanager
    async def _group(
        self, name: str, slot: Slot, profile: Profile
    ) -> AsyncIterator[JobGroup | None]:
        if self._groups is None:
            yield None
            return
        try:
            group = self._groups.create(name, profile.memory_bytes, profile.pids + _OWN_PROCESSES)
        except OSError as exc:
            raise NotStarted(f"no cgroup for the job: {exc}") from exc
        try:
            yield group
        finally:
            await _remove(group, slot)

    def _order(
        self, name: str, slot: Slot, group: JobGroup | None, argv: tuple[str, ...], profile: Profile
    ) -> Order:
        uid = self._options.first_uid + slot.number if _is_root() else None
        return Order(
            argv=bubblewrap_command(self._options.bwrap, profile, name, argv),
            slot=name,
            uid=uid,
            cgroups=() if group is None else group.entrances,
            rlimits=self._rlimits(profile),
            tmp_bytes=profile.tmp_bytes,
            tmp_inodes=profile.tmp_inodes,
        )

    def _rlimits(self, profile: Profile) -> dict[str, int]:
        # The kernel counts processes by uid; without one per slot, all jobs share one count.
        sharing = 1 if _is_root() else self._options.slots
        limits = {
            "RLIMIT_CORE": 0,
            "RLIMIT_CPU": profile.cpu_s,
            "RLIMIT_FSIZE": profile.tmp_bytes,
            "RLIMIT_MEMLOCK": _LOCKED_BYTES,
            "RLIMIT_MSGQUEUE": 0,
            "RLIMIT_NOFILE": profile.open_files,
            "RLIMIT_NPROC": (profile.pids + _OWN_PROCESSES) * sharing,
        }
        return limits if self._groups is not None else limits | {"RLIMIT_AS": profile.memory_bytes}


async def _remove(group: JobGroup, slot: Slot) -> None:
    try:
        await group.remove()
    except OSError:
        # What came of the job is known and must reach its caller; only the room is lost.
        slot.is_clean = False
        extra = {"slot": slot.number}
        log.exception("cgroup cannot be removed; its slot is used no more", extra=extra)


def _is_root() -> bool:
    return os.getuid() == 0
