"""An app's access token: fetched once however many ask, replaced when it is refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import Unavailable

T = TypeVar("T")


class StaleToken(Unavailable):
    """The platform refused the token: a new one may do."""


@dataclass(frozen=True)
class AccessToken:
    """A token as the platform handed it out."""

    value: str = field(repr=False)
    lasts_s: float

    @classmethod
    def read(cls, who: str, value: object, lasts_s: object) -> AccessToken:
        """Return the token in a platform's answer.

        Raises:
            Unavailable: there is none.
        """
        is_token = isinstance(value, str) and value.isascii() and value.isprintable()
        if not is_token or not value or type(lasts_s) is not int:
            raise Unavailable(f"{who} answered without a token")
        return cls(str(value), float(lasts_s))


Fetch = Callable[[Deadline], Awaitable[AccessToken]]


class AccessTokens:
    """Holds one app's token.

    Args:
        fetch: asks the platform.
        early_s: how long before its end a token is not used any more.
        now: seconds of a clock that never goes back.
    """

    def __init__(
        self, fetch: Fetch, early_s: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._early_s = early_s
        self._now = now
        self._lock = asyncio.Lock()
        self._token = ""
        self._until = 0.0

    async def used(self, call: Callable[[str], Awaitable[T]], *, deadline: Deadline) -> T:
        """Return what `call` gives for a token; one that is refused is replaced once.

        Raises:
            ClawdbotError: as `fetch` and `call`.
        """
        token = await self.get(deadline)
        try:
            return await call(token)
        except StaleToken:
            token = await self.get(deadline, other_than=token)
        return await call(token)

    async def get(self, deadline: Deadline, other_than: str = "") -> str:
        """Return a token that still lasts; not `other_than`, which the platform refused.

        Raises:
            ClawdbotError: as `fetch`.
        """
        async with self._lock:
            if self._token in ("", other_than) or self._now() >= self._until:
                token = await self._fetch(deadline)
                self._token = token.value
                self._until = self._now() + max(token.lasts_s - self._early_s, 0.0)
            return self._token
