"""Room for a bounded number of jobs at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any


@dataclass
class Slot:
    """Room for one job."""

    number: int
    """By which the job's host user is chosen."""
    is_clean: bool = True
    """False when something of its last job may be left; such a slot is never lent again."""


class Slots:
    """All room that there is; those who wait are served in order."""

    def __init__(self, count: int) -> None:
        self._free: asyncio.Queue[Slot] = asyncio.Queue()
        self._usable_count = count
        for number in range(count):
            self._free.put_nowait(Slot(number))

    @property
    def usable_count(self) -> int:
        """How many are free or will be."""
        return self._usable_count

    @asynccontextmanager
    async def lend(self, unwanted: asyncio.Future[None]) -> AsyncIterator[Slot | None]:
        """Wait for a slot and lend it; give None when `unwanted` is done before there is one."""
        slot = await self._take(unwanted)
        try:
            yield slot
        finally:
            if slot is not None:
                self._give_back(slot)

    async def _take(self, unwanted: asyncio.Future[None]) -> Slot | None:
        getting = asyncio.ensure_future(self._free.get())
        either: set[asyncio.Future[Any]] = {getting, unwanted}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._give_up(getting)
            raise
        if unwanted.done():
            self._give_up(getting)
            return None
        return getting.result()

    def _give_up(self, getting: asyncio.Task[Slot]) -> None:
        if not getting.cancel():
            # It came in the same moment, and is for whoever waits next.
            self._give_back(getting.result())

    def _give_back(self, slot: Slot) -> None:
        if slot.is_clean:
            self._free.put_nowait(slot)
        else:
            self._usable_count -= 1
