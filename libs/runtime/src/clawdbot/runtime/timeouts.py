"""Time-outs that hardly ever happen, many for the price of one timer.

`asyncio.timeout` sets a timer and takes it back each time, which with uvloop costs more than
parsing a message; on the way of every message that adds up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Timeouts:
    """Ends what takes too long, up to `tick_s` late.

    Args:
        tick_s: how often it looks, while there is anything to look at.
    """

    def __init__(self, tick_s: float = 0.05) -> None:
        self._tick_s = tick_s
        self._due: dict[asyncio.Timeout, float] = {}
        """When each is over, by the loop's clock."""
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def within(self, seconds: float) -> AsyncIterator[asyncio.Timeout]:
        """Cut off what runs within after `seconds`, as `asyncio.timeout` does.

        Raises:
            TimeoutError: it was cut off.
        """
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(None) as limit:
            self._due[limit] = loop.time() + seconds
            if self._timer is None:
                self._timer = loop.call_later(self._tick_s, self._look, loop)
            try:
                yield limit
            finally:
                self._due.pop(limit, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for limit in [limit for limit, due in self._due.items() if due <= now]:
            del self._due[limit]
            # Somebody else may have ended it just now.
            if not limit.expired():
                limit.reschedule(now)
        self._timer = loop.call_later(self._tick_s, self._look, loop) if self._due else None
