"""`X-Hub-Signature-256`, which GitHub and Meta sign their webhooks with.

`sha256=` and the hex HMAC-SHA256 of the exact body under the secret; nothing is dated. The older
`X-Hub-Signature` is SHA-1 and is not looked at.

Sources: docs.github.com, "Validating webhook deliveries"; developers.facebook.com, "Webhooks",
"Validating payloads".
"""

from __future__ import annotations

import hashlib
import hmac

from clawdbot.gateway.adapters.platforms.keys import Keys
from clawdbot.gateway.adapters.platforms.requests import RawRequest, Verified, refused

SIGNATURE = "x-hub-signature-256"


def verified(request: RawRequest, secrets: Keys) -> Verified:
    """Return the request as one that a holder of one of `secrets` sent.

    Raises:
        Unauthenticated: nobody did.
    """
    offered = request.header(SIGNATURE)
    expected = [_signature(secret, request.body) for secret in secrets]
    # A list: each secret is compared, whichever was right.
    if not any([hmac.compare_digest(one, offered) for one in expected]):
        raise refused()
    return Verified(request, request.body)


def _signature(secret: bytes, body: bytes) -> bytes:
    return b"sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest().encode()
