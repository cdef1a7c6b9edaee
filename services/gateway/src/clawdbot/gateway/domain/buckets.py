"""Leaky buckets by key: how much was taken lately, in a table that cannot grow.

Each one counted adds 1 to its key's bucket, which leaks `per_s`; what would fill it above `burst`
has to wait. So within any W seconds at most `burst + per_s * W` pass under a key. What other
replicas tell of their own buckets is poured in as well: docs/limits.md has the bound.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

TELL_SHARE = 8
"""A key is told to others once this part of its burst (1/8) was counted since the last time."""
MOST_REPLICAS = 16
"""What others tell fills a bucket no further than so many would: a wrong count ends some day."""
EXACT = 1e-9
"""Leaking in many steps loses this much to rounding, not more."""


@dataclass(frozen=True)
class Limit:
    """How much is let pass."""

    per_s: float
    """In the long run, per second."""
    burst: int
    """At once, after a pause."""

    def __post_init__(self) -> None:
        if not self.per_s > 0 or self.burst < 1:
            raise ValueError(f"no limit that lets anything pass: {self!r}")


class _Bucket:
    __slots__ = ("at", "level", "untold")

    def __init__(self, now: float) -> None:
        self.level = 0.0
        self.at = now
        self.untold = 0


class Buckets:
    """The buckets of one kind. Times are seconds of one clock that never goes back.

    Args:
        limit: of each key.
        max_keys: how many keys are held, the most recently counted ones.
        forgets: what a new key does when all places are taken. True: the key that was counted
            least recently is forgotten, and may take one burst anew. False: the new key has to
            wait until a bucket is empty.
    """

    def __init__(self, limit: Limit, max_keys: int, *, forgets: bool = True) -> None:
        self.limit = limit
        self._max_keys = max_keys
        self._forgets = forgets
        self._held: OrderedDict[str, _Bucket] = OrderedDict()
        self._due: dict[str, None] = {}
        """Keys to tell others of, the longest waiting first."""
        self._tell_at = max(1, limit.burst // TELL_SHARE)
        self._fullest = MOST_REPLICAS * (limit.burst + limit.per_s)

    def __len__(self) -> int:
        return len(self._held)

    def wait_s(self, key: str, now: float) -> float:
        """Return the seconds until one more may pass under `key`; 0.0 means now."""
        bucket = self._held.get(key)
        if bucket is None:
            return self._wait_for_place_s(now)
        over = self._leaked(bucket, now) + 1 - self.limit.burst
        return over / self.limit.per_s if over > EXACT else 0.0

    def add(self, key: str, now: float) -> None:
        """Count one under `key`, whether it may pass or not."""
        bucket = self._bucket(key, now)
        if bucket is None:
            return
        bucket.level += 1
        bucket.untold += 1
        if bucket.untold >= self._tell_at:
            self._due[key] = None

    def give_back(self, key: str, now: float) -> None:
        """Undo one `add` under `key`."""
        bucket = self._held.get(key)
        if bucket is None:
            return
        bucket.level = max(0.0, self._leaked(bucket, now) - 1)
        bucket.untold -= 1
        if bucket.level <= 0:
            self._forget(key)

    def tell(self, most: int) -> list[tuple[str, int]]:
        """Return up to `most` keys with what was counted since they were told last."""
        told: list[tuple[str, int]] = []
        while self._due and len(told) < most:
            key = next(iter(self._due))
            del self._due[key]
            bucket = self._held[key]
            if bucket.untold > 0:
                told.append((key, bucket.untold))
                bucket.untold = 0
        return told

    def learn(self, key: str, count: int, now: float) -> None:
        """Add what another replica counted under `key`."""
        bucket = self._bucket(key, now)
        if bucket is not None:
            bucket.level = min(bucket.level + count, self._fullest)

    def _bucket(self, key: str, now: float) -> _Bucket | None:
        bucket = self._held.get(key)
        if bucket is not None:
            bucket.level = self._leaked(bucket, now)
            bucket.at = max(bucket.at, now)
            self._held.move_to_end(key)
            return bucket
        if len(self._held) >= self._max_keys:
            if self._wait_for_place_s(now) > 0:
                return None
            self._forget(next(iter(self._held)))
        bucket = self._held[key] = _Bucket(now)
        return bucket

    def _wait_for_place_s(self, now: float) -> float:
        if self._forgets or len(self._held) < self._max_keys:
            return 0.0
        # Of all others it was counted last longest ago, so it is among the first to be empty.
        oldest = next(iter(self._held.values()))
        return self._leaked(oldest, now) / self.limit.per_s

    def _leaked(self, bucket: _Bucket, now: float) -> float:
        return max(0.0, bucket.level - max(0.0, now - bucket.at) * self.limit.per_s)

    def _forget(self, key: str) -> None:
        del self._held[key]
        self._due.pop(key, None)
