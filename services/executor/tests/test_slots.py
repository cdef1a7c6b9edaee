"""Room for jobs: in order, given up when nobody wants it, and never lent unclean."""

from __future__ import annotations

import asyncio

from clawdbot.executor.adapters.slots import Slots


def _never() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


async def test_slot_is_lent_to_one_at_a_time() -> None:
    slots = Slots(1)
    async with slots.lend(_never()):
        waiting = asyncio.ensure_future(_number(slots))
        done, _ = await asyncio.wait({waiting}, timeout=0)
        assert not done

    assert await waiting == 0


async def test_wait_that_is_called_off_ends_without_a_slot() -> None:
    slots, unwanted = Slots(1), _never()
    async with slots.lend(_never()):
        unwanted.set_result(None)

        async with asyncio.timeout(5), slots.lend(unwanted) as slot:
            assert slot is None


async def test_cancelled_wait_takes_no_slot_with_it() -> None:
    slots = Slots(1)
    async with slots.lend(_never()):
        waiting = asyncio.ensure_future(_number(slots))
        await asyncio.sleep(0)
    # The slot is free and the waiter is about to hear of it when it is cancelled.
    waiting.cancel()
    await asyncio.wait({waiting})

    async with asyncio.timeout(5), slots.lend(_never()) as slot:
        assert slot is not None


async def test_unclean_slot_is_never_lent_again() -> None:
    slots = Slots(2)
    async with slots.lend(_never()) as slot:
        assert slot is not None
        slot.is_clean = False

    async with slots.lend(_never()) as next_slot:
        assert next_slot is not None
        assert next_slot.number != slot.number
    assert slots.usable_count == 1


async def _number(slots: Slots) -> int | None:
    async with slots.lend(_never()) as slot:
        return None if slot is None else slot.number
