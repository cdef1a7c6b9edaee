"""A moment after which nobody waits any more; it travels with every call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from clawdbot.schema.errors import DeadlineExceeded


@dataclass(frozen=True)
class Deadline:
    """An absolute time. Clocks of all hosts are expected within a second (NTP)."""

    at: float
    """Unix time in seconds."""

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the deadline `seconds` from now."""
        return cls(time.time() + seconds)

    @classmethod
    def from_ms(cls, milliseconds: int) -> Deadline:
        """Return the deadline at Unix time `milliseconds`."""
        return cls(milliseconds / 1000)

    @property
    def ms(self) -> int:
        """Unix time in milliseconds, as the `Claw-Deadline` header has it."""
        return int(self.at * 1000)

    def remaining_s(self) -> float:
        """Return the seconds left, negative when it has passed."""
        return self.at - time.time()

    def within(self, seconds: float) -> Deadline:
        """Return the nearer of this deadline and `seconds` from now."""
        return min(self, Deadline.after(seconds), key=lambda deadline: deadline.at)

    @asynccontextmanager
    async def guard(self, reason: str) -> AsyncIterator[None]:
        """Cut off what runs within when this deadline passes; other time-outs pass through.

        Raises:
            DeadlineExceeded: with `reason`, when it passes or has passed already.
        """
        try:
            async with asyncio.timeout(self.require()) as limit:
                yield
        except TimeoutError as exc:
            if not limit.expired():
                raise
            raise DeadlineExceeded(reason) from exc

    def require(self) -> float:
        """Return the seconds left.

        Raises:
            DeadlineExceeded: none are.
        """
        left = self.remaining_s()
        if left <= 0:
            raise DeadlineExceeded("the deadline has passed")
        return left
