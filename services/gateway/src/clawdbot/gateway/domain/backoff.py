"""How long to wait before a connection is tried again.

Source: "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): full jitter, so that those
who were cut off together do not come back together.
"""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_S, LONGEST_S = 2.0, 60.0
SHORTEST_S = 1.0
REFUSED_S = 300.0
"""About the wait after a refusal that only a person can end."""


class Backoff:
    """Waits that double with each failure in a row.

    Args:
        uniform: draws from the range of its two arguments.
    """

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._uniform = uniform
        self.failures = 0

    def next_s(self, asked_s: float | None = None) -> float:
        """Return the seconds to wait after one more failure, not less than `asked_s`."""
        longest = min(LONGEST_S, FIRST_S * 2.0 ** min(self.failures, 10))
        self.failures += 1
        return max(asked_s or 0.0, self._uniform(SHORTEST_S, longest))

    def refused_s(self) -> float:
        """Return the seconds to wait after a refusal."""
        self.failures += 1
        return self._uniform(REFUSED_S / 2, REFUSED_S)

    def succeeded(self) -> None:
        """Begin anew."""
        self.failures = 0
