"""The webhook's signature: hex HMAC-SHA256 of the exact bytes under the shared secret."""

from __future__ import annotations

import hashlib
import hmac


def signature(secret: bytes, data: bytes) -> str:
    """Return the value of the header `X-Signature` for `data`."""
    return hmac.new(secret, data, hashlib.sha256).hexdigest()
