"""The signature of the generic webhook: hex HMAC-SHA256 of exact bytes under a shared secret.

Source: RFC 2104 (HMAC), FIPS 180-4 (SHA-256).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence

from clawdbot.schema.errors import Unauthenticated

HEADER = "x-signature"
MIN_SECRET_BYTES = 16
_VALUE = re.compile(rb"(?:sha256=)?([0-9A-Fa-f]{64})")


class Signature:
    """A well-formed signature that is not believed yet."""

    def __init__(self, digest: bytes) -> None:
        self.digest = digest


def read_signature(headers: Sequence[tuple[bytes, bytes]]) -> Signature:
    """Return the one signature in `headers`.

    Args:
        headers: names in lower case, duplicates kept.

    Raises:
        Unauthenticated: there is none or more than one, or it is not 64 hex digits; the message
            is the same as for a wrong one.
    """
    values = [value for name, value in headers if name == HEADER.encode()]
    match = _VALUE.fullmatch(values[0].strip(b" \t")) if len(values) == 1 else None
    if match is None:
        raise refused()
    return Signature(bytes.fromhex(match[1].decode("ascii")))


class WebhookKey:
    """Signs and verifies with the webhook's shared secret.

    Args:
        secret: at least `MIN_SECRET_BYTES`; HMAC under an empty key is valid and anybody's.

    Raises:
        ValueError: the secret is shorter.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret.strip()) < MIN_SECRET_BYTES:
            raise ValueError(f"the webhook secret needs at least {MIN_SECRET_BYTES} bytes")
        self._secret = secret

    def sign(self, data: bytes) -> str:
        """Return the value of the header for `data`."""
        return self._digest(data).hex()

    def verify(self, signature: Signature, data: bytes) -> None:
        """Pass when `signature` is that of `data`; the time taken does not tell how wrong it is.

        Raises:
            Unauthenticated: it is not.
        """
        if not hmac.compare_digest(signature.digest, self._digest(data)):
            raise refused()

    def _digest(self, data: bytes) -> bytes:
        return hmac.digest(self._secret, data, hashlib.sha256)


def refused() -> Unauthenticated:
    """Return the one error for every way in which a signature can fail."""
    return Unauthenticated(
        "the request is not signed by anybody we know",
        fix="send one X-Signature header with the hex HMAC-SHA256 under the webhook secret",
    )
