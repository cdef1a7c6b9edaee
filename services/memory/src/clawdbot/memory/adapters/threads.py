"""Work that must not be left behind when its caller is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

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


async def to_end(work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns; a cancelled caller, however often, still waits for its end.

    A transaction must not be cancelled: SQLAlchemy then abandons its connection at work, and the
    lock that SQLite holds for it keeps everybody else from writing.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        raise
