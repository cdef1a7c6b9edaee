"""A thread that works while there is work, and sleeps without looking otherwise."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

Step = Callable[[], bool]
"""Does one piece of work; returns whether there may be more."""


class WorkerThread:
    """Runs `step` until there is no more work, then waits to be woken.

    `finished` ends with the error when a step raises: its owner must watch it.
    """

    def __init__(self, name: str, step: Step) -> None:
        self._step = step
        self._wake = threading.Event()
        self._is_closing = False
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self.finished: Future[None] = self._pool.submit(self._run)

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
