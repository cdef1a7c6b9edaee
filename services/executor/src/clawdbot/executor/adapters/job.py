"""One job from its start to the death of its last process."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from clawdbot.executor.adapters.cgroup import JobGroup
from clawdbot.executor.adapters.launcher import Ended, Launcher, Order
from clawdbot.executor.adapters.output import OutputCapture
from clawdbot.executor.domain.profile import Profile
from clawdbot.executor.domain.result import Result
from clawdbot.executor.ports import NotStarted
from clawdbot.schema.errors import ClawdbotError, Unavailable
from clawdbot.schema.executor import Outcome

_DEATH_S = 5.0
"""How long a killed job may take to disappear."""
_REASON_BYTES = 300


class JobStuck(Unavailable):
    """A killed job does not disappear; its launcher can no longer be trusted with others."""


@dataclass(frozen=True)
class Bounds:
    """What ends a job before it ends by itself."""

    profile: Profile
    cancelled: asyncio.Future[None]
    """Done when nobody wants the job any more."""
    group: JobGroup | None
    """Its cgroup, asked afterwards whether memory ran out."""


async def run_job(launcher: Launcher, order: Order, bounds: Bounds, program: bytes) -> Result:
    """Run one job and return its end; whatever happens, it is dead when this returns.

    Args:
        launcher: what starts it.
        order: what to start.
        bounds: what ends it early.
        program: its system call filter.

    Raises:
        NotStarted: nothing of it ran.
        Unavailable: it began, and its end is not known.
        JobStuck: it was killed and does not disappear.
    """
    started = time.monotonic()
    with _before_start():
        capture = OutputCapture(bounds.profile.output_bytes)
    try:
        with _before_start(), _descriptors(capture, program) as fds:
            job, end = launcher.start(order, fds)
        try:
            limit = await _first_limit(end, capture, bounds)
        finally:
            # Told or not, nothing of the job may be freed before it is dead.
            with suppress(ClawdbotError):
                launcher.kill(job)
            await _gone(end)
        ended = end.result()
        stdout, stderr = await capture.drained()
    finally:
        capture.close()
    outcome = limit or _natural_outcome(ended, bounds.group, stderr)
    return Result(
        outcome=outcome,
        exit_status=ended.exit_status,
        stdout=stdout,
        stderr=stderr,
        truncated=capture.overflow.done(),
        duration_s=time.monotonic() - started,
    )


async def _first_limit(
    end: asyncio.Future[Ended], capture: OutputCapture, bounds: Bounds
) -> Outcome | None:
    """Wait for the end or a limit, whichever is first."""
    any_of: set[asyncio.Future[Any]] = {end, capture.overflow, bounds.cancelled}
    wall_s = bounds.profile.wall_s
    await asyncio.wait(any_of, timeout=wall_s, return_when=asyncio.FIRST_COMPLETED)
    if capture.overflow.done():
        return Outcome.OUTPUT_LIMIT
    if end.done():
        return None
    return Outcome.CANCELLED if bounds.cancelled.done() else Outcome.TIMED_OUT


async def _gone(end: asyncio.Future[Ended]) -> None:
    deadline = time.monotonic() + _DEATH_S
    while not end.done():
        left = deadline - time.monotonic()
        if left <= 0:
            raise JobStuck("a killed job does not disappear")
        try:
            await asyncio.wait({end}, timeout=left)
        except asyncio.CancelledError:
            # The first cancellation is on its way up already. A second one must not free the
            # job's uid and cgroup while its processes still run; the deadline bounds the wait.
            continue


def _natural_outcome(ended: Ended, group: JobGroup | None, stderr: bytes) -> Outcome:
    if group is not None and group.memory_kills() > 0:
        return Outcome.MEMORY_LIMIT
    if ended.exit_status is None:
        reason = stderr[:_REASON_BYTES].decode(errors="replace").strip()
        if not ended.was_started:
            raise NotStarted(f"the sandbox did not start the job: {reason}")
        raise Unavailable(f"the sandbox lost the job: {reason}")
    return Outcome.FINISHED


@contextmanager
def _before_start() -> Iterator[None]:
    try:
        yield
    except (ClawdbotError, OSError) as exc:
        raise NotStarted(f"the job could not be started: {exc}") from exc


@contextmanager
def _descriptors(capture: OutputCapture, program: bytes) -> Iterator[Sequence[int]]:
    """Lend what the job inherits: standard input, output, error, and the filter to read."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    filter_read, filter_write = os.pipe()
    try:
        os.write(filter_write, program)
        os.close(filter_write)
        yield nothing, capture.stdout_fd, capture.stderr_fd, filter_read
    finally:
        os.close(nothing)
        os.close(filter_read)
        capture.release()
