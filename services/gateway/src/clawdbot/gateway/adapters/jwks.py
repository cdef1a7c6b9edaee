"""Keys that an identity provider publishes, fetched now and then, kept while it is away.

Source: RFC 7517 section 5; OpenID Connect Core 1.0 section 10.1.1 (rotation by `kid`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx

from clawdbot.gateway.adapters import metrics
from clawdbot.gateway.adapters.jwt_keys import KeySet, VerifyingKey, public_keys
from clawdbot.schema.errors import Unavailable

log = logging.getLogger(__name__)

FETCH_TIMEOUT_S = 5.0
MAX_BYTES = 256 * 1024
"""A set of 64 RSA keys with certificates has less."""
REFETCH_AFTER_S = 60.0
"""How often an unknown `kid`, which anybody may send, has the keys fetched at most."""
RETRY_S = 5.0
"""Pause after an attempt that failed."""


class PublishedKeys:
    """The keys at one address; open with `PublishedKeys.open`, and let `run` run.

    Args:
        client: without redirects.
        url: of the JSON Web Key Set.
        algorithm: `RS256` or `EdDSA`; keys for others are passed over.
        timeout_s: how long one may take.
        now: a clock that never goes back, in seconds.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        url: str,
        algorithm: str,
        *,
        timeout_s: float = FETCH_TIMEOUT_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._url = url
        self._algorithm = algorithm
        self._timeout_s = timeout_s
        self._now = now
        self._keys: KeySet | None = None
        self._tried_at = float("-inf")
        self._failure: str | None = None
        self._fetching = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, algorithm: str) -> AsyncIterator[PublishedKeys]:
        """Hold the connection to the provider while the context lasts."""
        async with httpx.AsyncClient(follow_redirects=False, trust_env=False) as client:
            yield cls(client, url, algorithm)

    async def find(self, key_id: str | None) -> VerifyingKey | None:
        """Return the key that `key_id` names; an unknown one is asked for, within limits.

        Raises:
            Unavailable: no keys were fetched yet.
        """
        if self._keys is not None and (found := self._keys.get(key_id)) is not None:
            return found
        await self._look_again()
        if self._keys is None:
            raise Unavailable("the keys of the identity provider were not fetched yet")
        return self._keys.get(key_id)

    def known(self, key_id: str) -> VerifyingKey | None:
        """Return the key that `key_id` names, if it was fetched."""
        return None if self._keys is None else self._keys.get(key_id)

    async def keep_fresh(self, max_age_s: float) -> None:
        """Fetch when that is longer ago; for those who let nothing `run`."""
        if self._is_older(max_age_s):
            async with self._fetching:
                if self._is_older(max_age_s):
                    await self.fetch()

    def _is_older(self, max_age_s: float) -> bool:
        return self._now() - self._tried_at >= (RETRY_S if self._failure else max_age_s)

    async def run(self, *, refresh_s: float) -> None:
        """Keep fetching until cancelled, every `refresh_s`; sooner after a failure."""
        while True:
            async with self._fetching:
                await self.fetch()
            await asyncio.sleep(RETRY_S if self._failure else refresh_s)

    def missing(self) -> str | None:
        """Return why no token can be believed, or None when there are keys."""
        return None if self._keys else self._failure or "the keys were not fetched yet"

    def failing(self) -> str | None:
        """Return why the last fetch failed; the keys of the one before still count."""
        return self._failure

    async def _look_again(self) -> None:
        tried_at = self._tried_at
        async with self._fetching:
            # Whoever waited for a fetch that another began has what came of it.
            if self._tried_at == tried_at and self._now() - tried_at >= REFETCH_AFTER_S:
                await self.fetch()

    async def fetch(self) -> None:
        """Fetch once; on failure keep what there is."""
        try:
            async with asyncio.timeout(self._timeout_s):
                raw = await self._read()
            self._keys = self.parse(raw)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError) as exc:
            reason = str(exc) if isinstance(exc, ValueError) else type(exc).__name__
            self._failure = f"{self._url} gives no keys: {reason}"
            log.warning("keys of tokens not fetched", extra={"url": self._url, "reason": reason})
        else:
            self._failure = None
        finally:
            self._tried_at = self._now()
        metrics.key_fetches.labels("failed" if self._failure else "fetched").inc()

    def parse(self, raw: bytes) -> KeySet:
        """Return the keys in a set; who needs more of it than keys looks for that here.

        Raises:
            ValueError: it has none that can be used.
        """
        return public_keys(raw, self._algorithm, ignores_others=True)

    async def _read(self) -> bytes:
        # Uncompressed, so that the bound holds for what arrives and for what is read.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        async with self._client.stream(
            "GET", self._url, headers=headers, timeout=self._timeout_s
        ) as answer:
            if answer.status_code != httpx.codes.OK:
                raise ValueError(f"status {answer.status_code}")
            raw = bytearray()
            async for piece in answer.aiter_raw():
                raw += piece
                if len(raw) > MAX_BYTES:
                    raise ValueError(f"more than {MAX_BYTES} bytes")
            return bytes(raw)
