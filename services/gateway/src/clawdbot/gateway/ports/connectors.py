"""What a connection to a platform needs: to be the only one, events, and somebody who counts."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol


class HoldLost(Exception):
    """Another gateway may hold the connection by now."""


class Hold(Protocol):
    """The right to be connected for an account, while it is kept."""

    async def keep(self) -> None:
        """Renew until cancelled, or released.

        Raises:
            HoldLost: somebody else has it, or may have it.
        """
        ...

    async def release(self) -> None:
        """Give it back, so that another gateway has it at once."""
        ...


class Holds(Protocol):
    """One holder for each account, over all gateways."""

    async def acquire(self, account: str) -> Hold | None:
        """Return the hold on `account`, or None while somebody else has it.

        Raises:
            Unavailable: nobody can tell.
        """
        ...


class Arrival(Protocol):
    """Something that a platform says over its connection."""

    async def keep(self) -> None:
        """Have it kept; safe to repeat.

        Raises:
            RateLimited: it is over a limit for now.
            Retryable: it is not certain that it is kept.
            Rejected: it cannot be read.
        """
        ...

    async def acknowledge(self) -> None:
        """Tell the platform what `keep` came to; raises Retryable when it cannot be told."""
        ...

    async def refuse(self) -> None:
        """Go on without it; raises Retryable when the platform cannot be told."""
        ...


class Feed(Protocol):
    """One account's events."""

    def open(self) -> AbstractAsyncContextManager[AsyncIterator[Arrival]]:
        """Be connected while the context lasts.

        Raises:
            Retryable: it may work later.
            Rejected: it never will until somebody does something.
        """
        ...


class ConnectionMeter(Protocol):
    """Counts what happens to one account's connection."""

    def connected(self, *, is_connected: bool) -> None:
        """Note that it stands, or does not any more."""
        ...

    def ended(self, reason: str) -> None:
        """Count an end that nobody here asked for."""
        ...

    def arrived(self, outcome: str) -> None:
        """Count an event: kept or refused."""
        ...


class RecordingMeter:
    """A `ConnectionMeter` to look at."""

    def __init__(self) -> None:
        self.is_connected = False
        self.ends: list[str] = []
        self.arrivals: Counter[str] = Counter()

    def connected(self, *, is_connected: bool) -> None:
        """Note it."""
        self.is_connected = is_connected

    def ended(self, reason: str) -> None:
        """Note it."""
        self.ends.append(reason)

    def arrived(self, outcome: str) -> None:
        """Count it."""
        self.arrivals[outcome] += 1


class InMemoryHold:
    """A `Hold` of `InMemoryHolds`."""

    def __init__(self, holds: InMemoryHolds, account: str) -> None:
        self._holds = holds
        self._account = account
        self._lost = asyncio.Event()

    async def keep(self) -> None:
        """Wait until it is lost."""
        await self._lost.wait()
        raise HoldLost

    async def release(self) -> None:
        """Let the next one have it."""
        if self._holds.held.get(self._account) is self:
            del self._holds.held[self._account]

    def lose(self) -> None:
        """Be taken by nobody."""
        self._lost.set()


class InMemoryHolds:
    """`Holds` of one process.

    Attributes:
        held: by account.
    """

    def __init__(self) -> None:
        self.held: dict[str, InMemoryHold] = {}

    async def acquire(self, account: str) -> InMemoryHold | None:
        """Give it to whoever asks first."""
        if account in self.held:
            return None
        self.held[account] = InMemoryHold(self, account)
        return self.held[account]
