"""A thread that works while there is work, and sleeps without looking otherwise."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

Step = Callable[[], bool]
"""Does one piece of work; returns whether there may be more."""


class WorkerThread:
    """Runs `step` until there is no more work, then waits to be woken."""

    def __init__(self, name: str, step: Step) -> None:
        self._step = step
        self._wake = threading.Event()
        self._is_closing = False
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._finished: Future[None] | None = None

    def start(self) -> None:
        """Begin; whoever calls this must also call `close`, or the process cannot end."""
        self._finished = self._pool.submit(self._run)

    async def watch(self) -> None:
        """Wait until the thread ends; raises what a step raised."""
        if self._finished is not None:
            await asyncio.wrap_future(self._finished)

    def wake(self) -> None:
        """Have the thread look for work; safe from any thread."""
        self._wake.set()

    def close(self) -> None:
        """End after the step that is running, and wait for that."""
        self._is_closing = True
        self._wake.set()
        self._pool.shutdown(wait=True)

    def _run(self) -> None:
        while not self._is_closing:
            self._wake.wait()
            self._wake.clear()
            while not self._is_closing and self._step():
                pass
