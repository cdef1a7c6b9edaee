"""A server's certificate, replaced on disk while it serves.

Source: RFC 8996 (TLS before 1.2 is not to be used).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path

from clawdbot.runtime.config import ConfigError

log = logging.getLogger(__name__)

LOOK_EVERY_S = 30.0
"""How often the files are looked at: well within the days by which renewal precedes expiry."""


class Certificate:
    """PEM files of a certificate with its chain and of its private key, as a TLS context.

    Attributes:
        context: for servers; what it serves to new connections follows the files.

    Args:
        chain: the certificate first.
        key: without a password.

    Raises:
        ConfigError: they cannot be read, or do not belong together.
    """

    def __init__(self, chain: Path, key: Path) -> None:
        self._chain = chain
        self._key = key
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._load()
        self._seen = self._written_at()

    async def follow(self, every_s: float = LOOK_EVERY_S) -> None:
        """Take up files that are replaced; does not return."""
        while True:
            await asyncio.sleep(every_s)
            await asyncio.to_thread(self._renew)

    def _renew(self) -> None:
        try:
            found = self._written_at()
            if found == self._seen:
                return
            self._load()
        except (ConfigError, OSError) as exc:
            # One of the two may be written already and the other not yet.
            log.warning("certificate not renewed", extra={"reason": type(exc).__name__})
            return
        self._seen = found
        log.info("certificate renewed")

    def _load(self) -> None:
        try:
            # A context that refused a pair must not be left with half of it.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
                self._chain, self._key, _no_password
            )
            self.context.load_cert_chain(self._chain, self._key, _no_password)
        except (OSError, ValueError) as exc:
            raise ConfigError(
                f"TLS cannot use {self._chain} with the key {self._key}: {exc}; let "
                "app.tls_certificate name a PEM file with the chain, and app.tls_key a PEM "
                "key without a password"
            ) from exc

    def _written_at(self) -> tuple[int, int]:
        return self._chain.stat().st_mtime_ns, self._key.stat().st_mtime_ns


def _no_password() -> str:
    raise ValueError("the key has a password")
