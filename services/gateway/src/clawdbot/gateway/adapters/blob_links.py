"""Addresses of files in the object store, for whoever holds one, and for a while.

The signature is the right to read: HMAC-SHA256 over hash, end and name, under a key of its own that
is derived from `reply_key`. Nothing of it is stored.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import time
from collections.abc import Callable
from urllib.parse import urlencode

from clawdbot.schema.errors import NotFound
from clawdbot.schema.messages import Attachment

PATH = "/blobs"
_LABEL = b"clawdbot.blob-link/1"
STEPS = 4
"""An address stays the same for a quarter of its life: a reply that is sent again is the same."""


class BlobLinks:
    """Makes and checks addresses.

    Args:
        secret: `reply_key`, the same on every replica.
        public_url: how the outside reaches us, without a slash at the end, or "".
        ttl_s: how long an address works at least; a quarter longer at most.
        now: Unix seconds.
    """

    def __init__(
        self,
        secret: bytes,
        public_url: str,
        ttl_s: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._key = hmac.digest(secret, _LABEL, hashlib.sha256)
        self._public_url = public_url
        self._ttl_s = ttl_s
        self._now = now

    def __call__(self, attachment: Attachment) -> str:
        """Return where `attachment` is downloaded; "" when it does not lie in the object store."""
        blob = attachment.blob
        if blob is None:
            return ""
        step_s = self._ttl_s / STEPS
        latest = math.ceil((self._now() + self._ttl_s) / step_s) * step_s
        expires = str(int(min(latest, blob.expires_at_ms / 1000)))
        name = attachment.name or ""
        query = {
            "expires": expires,
            "name": name,
            "signature": self._signature(blob.sha256, expires, name),
        }
        return f"{self._public_url}{PATH}/{blob.sha256}?{urlencode(query)}"

    def check(self, sha256: str, expires: str, name: str, signature: str) -> None:
        """Pass when we made the address of these parts and it still works.

        Raises:
            NotFound: anything else; which, nobody is told.
        """
        wanted = self._signature(sha256, expires, name).encode()
        is_ours = hmac.compare_digest(wanted, signature.encode("utf-8", "surrogatepass"))
        # Ours only: what is compared is what we wrote, digits included.
        if not is_ours or int(expires) <= self._now():
            raise NotFound("no such file", fix="its address may have expired; ask for a new one")

    def _signature(self, *parts: str) -> str:
        # As JSON, so that nothing can be moved from one part to the next.
        signed = json.dumps(parts).encode()
        return hmac.digest(self._key, signed, hashlib.sha256).hex()
