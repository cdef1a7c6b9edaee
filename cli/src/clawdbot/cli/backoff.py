"""How long to wait before something that ended is started again."""

from __future__ import annotations


class Backoff:
    """Doubles the wait with every quick end, up to a limit.

    Args:
        first_s: seconds after the first end.
        limit_s: the longest wait.
        steady_s: who ran this long has recovered, and the count starts anew.
    """

    def __init__(self, *, first_s: float = 0.5, limit_s: float = 30, steady_s: float = 60) -> None:
        self._first_s = first_s
        self._limit_s = limit_s
        self._steady_s = steady_s
        self._next_s = first_s

    def after(self, lived_s: float) -> float:
        """Return the seconds to wait after a life of `lived_s`."""
        if lived_s >= self._steady_s:
            self._next_s = self._first_s
        wait = self._next_s
        self._next_s = min(self._limit_s, wait * 2)
        return wait
