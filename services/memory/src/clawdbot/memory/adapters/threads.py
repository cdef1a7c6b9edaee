"""Work for a thread that must not be left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def run_to_end(work: Callable[[], T]) -> T:
    """Return what `work` returns, from a thread; a cancelled caller still waits for its end.

    A thread cannot be stopped. Who holds a lock for it must not let go while it runs.
    """
    future = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise
