"""Who may be listened to before it is known who they are: decided by their address."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache

from clawdbot.gateway.domain.rates import Kind, Rates
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.ids import IdKey

KNOWN_S = 600.0
"""How long an address is known after an authentic request."""
MAX_KNOWN = 65_536
REMEMBERED = 4096


def always() -> bool:
    """Return that the other replicas are heard: there are none."""
    return True


class Doorkeeper:
    """Counts by address what failed to show who sent it.

    An address is known for a while after an authentic request. A known one is always read, so that
    nobody behind the same proxy, or at the same platform, can lock the others out; what fails
    there over the limit is told to wait instead of why. Any other address is read only while fewer
    of its requests than the limit are unproven, those that are being read included.

    It fails closed: when all places for addresses are taken, or the counts of the other replicas
    are not heard, nobody is read who is not known.

    Args:
        rates: with the kinds `FAILURE` and `ADDRESS`.
        ids: makes keys of addresses, which leave this process.
        is_exchanging: whether counts are exchanged with the other replicas.
        now: seconds of a clock that never goes back.
    """

    def __init__(
        self,
        rates: Rates,
        ids: IdKey,
        is_exchanging: Callable[[], bool] = always,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rates = rates
        # Platforms and proxies come from few addresses, each many times.
        self._key = lru_cache(REMEMBERED)(ids.address)
        self._is_exchanging = is_exchanging
        self._now = now
        self._known: OrderedDict[str, float] = OrderedDict()
        """Until when, the one that was vouched for least recently first."""

    def admit(self, address: str) -> bool:
        """Let an unproven request be read; return whether `give_back` has to undo it once proven.

        Raises:
            RateLimited: too many of that address showed nothing yet.
            Unavailable: that cannot be told, as the other replicas are not heard.
        """
        key = self._key(address)
        if self._is_known(key) or not self._rates.limits(Kind.FAILURE):
            return False
        if not self._is_exchanging():
            raise Unavailable(
                "who is not known yet is not listened to right now", fix="try again later"
            )
        self._rates.take([(Kind.FAILURE, key)], self._now())
        return True

    def give_back(self, address: str) -> None:
        """Take back what `admit` counted."""
        self._rates.give_back(Kind.FAILURE, self._key(address), self._now())

    def fail(self, address: str) -> None:
        """Count a request that showed nothing and was not counted by `admit`.

        Raises:
            RateLimited: there were too many.
        """
        self._rates.take([(Kind.FAILURE, self._key(address))], self._now())

    def vouch(self, address: str) -> None:
        """Count an authentic request, and know its address from now on.

        Raises:
            RateLimited: there were too many.
        """
        key, now = self._key(address), self._now()
        self._known[key] = now + KNOWN_S
        self._known.move_to_end(key)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        self._rates.take([(Kind.ADDRESS, key)], now)

    def _is_known(self, key: str) -> bool:
        until = self._known.get(key)
        if until is None or until > self._now():
            return until is not None
        del self._known[key]
        return False
