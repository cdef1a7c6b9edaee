"""How much the holder of a token may ask for that never becomes a message."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from clawdbot.gateway.domain.crowd import Crowd
from clawdbot.gateway.domain.messages import framed
from clawdbot.gateway.domain.rates import Kind, Rates
from clawdbot.schema.ids import Channel, IdKey, Tenant

TOKENS = Channel("token")
"""Not a way in: keeps a token's holder apart from every sender of the same name."""


class Callers:
    """Gives each holder of a token the rate and the places of one sender.

    Args:
        rates: with the kinds `SENDER` and `TENANT`.
        crowd: bounds what a holder waits for at the same time.
        ids: makes keys of the holders' names, which leave this process.
        now: seconds of a clock that never goes back.
    """

    def __init__(
        self, rates: Rates, crowd: Crowd, ids: IdKey, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._rates = rates
        self._crowd = crowd
        self._ids = ids
        self._now = now

    def count(self, tenant: Tenant, subject: str) -> None:
        """Count a request of the token for `subject`.

        Raises:
            RateLimited: there were too many.
        """
        keys = [(Kind.SENDER, self._key(tenant, subject)), (Kind.TENANT, str(tenant))]
        self._rates.take(keys, self._now())

    def enter(self, tenant: Tenant, subject: str) -> AbstractContextManager[None]:
        """Hold a place while an answer is awaited.

        Raises:
            RateLimited: this holder has all of theirs already.
        """
        return self._crowd.enter(self._key(tenant, subject))

    def _key(self, tenant: Tenant, subject: str) -> str:
        return f"{tenant}.{self._ids.user(TOKENS, framed(tenant, subject))}"
