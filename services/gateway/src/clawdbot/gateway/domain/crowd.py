"""How many of one key may be inside at the same moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from clawdbot.gateway.domain.rates import Kind, OnRefusal, RateLimited, ignored

RETRY_S = 1.0


class Crowd:
    """Bounds how many places one key holds, so that it cannot take those of all others.

    Args:
        kind: what is bounded.
        places: for each key; None means any number.
        on_refusal: told of each refusal.
    """

    def __init__(
        self, kind: Kind, places: int | None = None, on_refusal: OnRefusal = ignored
    ) -> None:
        self._kind = kind
        self._places = places
        self._on_refusal = on_refusal
        self._inside: dict[str, int] = {}

    @contextmanager
    def enter(self, key: str) -> Iterator[None]:
        """Hold a place; keys that hold none take no memory.

        Raises:
            RateLimited: `key` has all of its places already.
        """
        inside = self._inside.get(key, 0)
        if self._places is not None and inside >= self._places:
            self._on_refusal(self._kind)
            raise RateLimited(self._kind, RETRY_S)
        self._inside[key] = inside + 1
        try:
            yield
        finally:
            self._inside[key] -= 1
            if not self._inside[key]:
                del self._inside[key]
