"""How often a user may name a code that is none, before nobody listens to them for a while."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

ALLOWED = 10
"""Enough for whoever mistypes; a guesser would need 2^49 of them."""
WINDOW_S = 600.0
"""How long wrong codes are counted together, and how long a user is locked after too many."""
USERS = 10_000
"""Users remembered; whoever said a wrong code longest ago is forgotten first."""


@dataclass(frozen=True)
class _Count:
    wrong: int
    since: float


class WrongCodes:
    """Counts wrong codes of each user, in one process."""

    def __init__(self) -> None:
        self._counts: OrderedDict[tuple[str, str], _Count] = OrderedDict()

    def wait_s(self, user: tuple[str, str], now: float) -> float:
        """Return for how many seconds `user` is not listened to; 0 for whoever is."""
        count = self._counts.get(user)
        if count is None or count.wrong < ALLOWED:
            return 0.0
        return max(0.0, count.since + WINDOW_S - now)

    def add(self, user: tuple[str, str], now: float) -> None:
        """Count one; the last one allowed begins the lock."""
        count = self._counts.pop(user, _Count(0, now))
        if now >= count.since + WINDOW_S:
            count = _Count(0, now)
        wrong = count.wrong + 1
        self._counts[user] = _Count(wrong, now if wrong == ALLOWED else count.since)
        while len(self._counts) > USERS:
            self._counts.popitem(last=False)
