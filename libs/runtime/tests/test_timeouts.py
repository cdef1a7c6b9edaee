"""Many time-outs on one timer: what is late is cut off, what is not is left alone."""

from __future__ import annotations

import asyncio

import pytest

from clawdbot.runtime.timeouts import Timeouts


async def test_what_takes_too_long_is_cut_off() -> None:
    timeouts = Timeouts(tick_s=0.001)

    with pytest.raises(TimeoutError):
        async with timeouts.within(0.001):
            await asyncio.Event().wait()


async def test_what_is_done_in_time_is_left_alone() -> None:
    timeouts = Timeouts(tick_s=0.001)

    async with timeouts.within(60):
        with pytest.raises(TimeoutError):
            async with timeouts.within(0.001):
                await asyncio.Event().wait()
        await asyncio.sleep(0)


async def test_each_of_many_is_cut_off_by_its_own_time() -> None:
    timeouts = Timeouts(tick_s=0.001)
    go_on = asyncio.Event()

    async def wait(seconds: float) -> bool:
        try:
            async with timeouts.within(seconds):
                await go_on.wait()
        except TimeoutError:
            return False
        return True

    patient = [asyncio.create_task(wait(60)) for _ in range(20)]
    hasty = await asyncio.gather(*(wait(0.002) for _ in range(20)))
    go_on.set()

    assert hasty == [False] * 20
    assert await asyncio.gather(*patient) == [True] * 20


async def test_an_error_within_stays_what_it_is() -> None:
    timeouts = Timeouts(tick_s=0.001)

    with pytest.raises(KeyError):
        async with timeouts.within(60):
            raise KeyError


async def test_a_cancellation_from_outside_is_not_taken_for_a_time_out() -> None:
    timeouts = Timeouts(tick_s=0.001)

    async def wait() -> None:
        async with timeouts.within(60):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
