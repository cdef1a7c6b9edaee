"""Jobs that are lost, called off or hard to clear away, through the real sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from clawdbot.executor.adapters.bubblewrap import BubblewrapOptions, BubblewrapSandbox
from clawdbot.executor.adapters.cgroup import JobGroup, JobGroups
from clawdbot.executor.domain.result import Result
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.executor import Outcome

from .conftest import plan_of, run_as, run_plan

NEVER_STARTED = Result(Outcome.CANCELLED, None, b"", b"", truncated=False, duration_s=0.0)
ECHO = plan_of("/usr/bin/echo", "done")


class StickyGroup(JobGroup):
    """Goes away, and says that it did not."""

    async def remove(self) -> None:
        await super().remove()
        raise TimeoutError("does not become empty")


class StickyGroups(JobGroups):
    """Makes such groups."""

    def create(self, job: str, memory_bytes: int, pids: int) -> JobGroup:
        made = super().create(job, memory_bytes, pids)
        return StickyGroup(made.version, made.directories)


@pytest_asyncio.fixture
async def narrow() -> AsyncIterator[BubblewrapSandbox]:
    """A sandbox with one slot."""
    async with BubblewrapSandbox.open(BubblewrapOptions(slots=1, first_uid=57100)) as sandbox:
        if sandbox.problem is not None:
            pytest.skip(sandbox.problem)
        yield sandbox


async def test_job_that_is_cancelled_while_it_waits_is_never_started(
    narrow: BubblewrapSandbox,
) -> None:
    async with narrow.slot("first"):
        waiting = asyncio.ensure_future(run_as(narrow, "second", ECHO))
        await asyncio.sleep(0)

        assert narrow.cancel("second")

        result = await asyncio.wait_for(waiting, 10)
    assert result == NEVER_STARTED


async def test_job_that_is_cancelled_before_it_runs_is_never_started(
    narrow: BubblewrapSandbox,
) -> None:
    async with narrow.slot("job") as run:
        narrow.cancel("job")

        result = await run(ECHO, 5.0)

    assert result == NEVER_STARTED


async def test_group_that_stays_costs_the_slot_and_not_the_result(
    narrow: BubblewrapSandbox,
) -> None:
    groups = narrow._groups
    if groups is None:
        pytest.skip("no cgroup")
    narrow._groups = StickyGroups(groups.version, groups.parents)

    result = await run_plan(narrow, ECHO)

    assert (result.outcome, result.stdout) == (Outcome.FINISHED, b"done\n")
    assert narrow.problem is not None
    assert not narrow.capabilities.usable
    with pytest.raises(Unavailable, match="no working sandbox"):
        await run_plan(narrow, ECHO)
