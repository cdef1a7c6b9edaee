"""What a job's end waits for, with a launcher that does not listen."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from clawdbot.executor.adapters.job import Bounds, run_job
from clawdbot.executor.adapters.launcher import Ended, Launcher, Order
from clawdbot.executor.domain.profile import PURE
from clawdbot.executor.ports import NotStarted
from clawdbot.schema.errors import Overloaded, Unavailable
from clawdbot.schema.executor import Outcome

ORDER = Order(("/bin/true",), "slot", None, (), {}, 1, 1)


class DeafLauncher(Launcher):
    """Takes a job, and has no room for the order to kill it."""

    def __init__(self) -> None:
        self.end: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self.asked_to_kill = asyncio.Event()

    def start(self, order: Order, fds: Sequence[int]) -> tuple[int, asyncio.Future[Ended]]:
        return 1, self.end

    def kill(self, job: int) -> None:
        self.asked_to_kill.set()
        raise Overloaded("the sandbox launcher is behind")


class FullLauncher(DeafLauncher):
    """Takes no job."""

    def start(self, order: Order, fds: Sequence[int]) -> tuple[int, asyncio.Future[Ended]]:
        raise Overloaded("the sandbox launcher is behind")


def _bounds(wall_s: float) -> Bounds:
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    return Bounds(replace(PURE, wall_s=wall_s), never, None)


async def test_job_whose_kill_fails_is_still_waited_for() -> None:
    launcher = DeafLauncher()
    running = asyncio.ensure_future(run_job(launcher, ORDER, _bounds(0.01), b""))
    await launcher.asked_to_kill.wait()
    done, _ = await asyncio.wait({running}, timeout=0.01)
    assert not done

    launcher.end.set_result(Ended(None, was_started=True))

    assert (await running).outcome is Outcome.TIMED_OUT


async def test_job_that_the_launcher_does_not_take_was_not_started() -> None:
    with pytest.raises(NotStarted, match="behind"):
        await run_job(FullLauncher(), ORDER, _bounds(5), b"")


@pytest.mark.parametrize(("was_started", "error"), [(False, NotStarted), (True, Unavailable)])
async def test_end_without_a_status_tells_whether_anything_ran(
    was_started: bool, error: type[Exception]
) -> None:
    launcher = DeafLauncher()
    launcher.end.set_result(Ended(None, was_started=was_started))

    with pytest.raises(Unavailable) as lost:
        await run_job(launcher, ORDER, _bounds(5), b"")

    assert type(lost.value) is error
