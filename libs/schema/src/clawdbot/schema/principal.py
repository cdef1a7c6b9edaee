"""Who a message speaks for: decided once by the gateway, signed, verified by whoever acts on it.

Source: JSON Web Token (RFC 7519) with EdDSA over Ed25519 (RFC 8037).
"""

from __future__ import annotations

import time
from enum import StrEnum

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_pem_public_key,
)
from pydantic import BaseModel, ConfigDict

from clawdbot.schema.errors import Forbidden, Unauthenticated
from clawdbot.schema.ids import Channel, ConversationId, Tenant

ISSUER = "clawdbot-gateway"
AUDIENCE = "clawdbot-services"
DEFAULT_TTL_S = 3600
"""How long a message may wait for its turn before its principal is no longer believed."""
REUSE_S = 30
"""How long the same token is given out again; signing costs more than the rest of an envelope."""
REMEMBERED = 4096
"""Principals whose latest token is kept, a few hundred bytes each."""
LEEWAY_S = 30
"""Clock difference between hosts that is forgiven."""


class Scope(StrEnum):
    """What a principal may do."""

    CHAT = "chat"
    MEMORY_READ = "memory:read"
    MEMORY_WRITE = "memory:write"
    APPROVE = "approve"
    ADMIN = "admin"


class Principal(BaseModel):
    """A tenant's user, in one conversation on one channel account, and what they may do."""

    model_config = ConfigDict(frozen=True)

    tenant: Tenant
    user: str
    scopes: frozenset[Scope]
    conversation_id: ConversationId
    channel: Channel

    def require(self, scope: Scope) -> None:
        """Pass when the principal holds `scope`.

        Raises:
            Forbidden: it does not.
        """
        if scope not in self.scopes:
            raise Forbidden(f"this needs the scope {scope.value!r}", field="scopes")


class PrincipalSigner:
    """Signs principals; only the gateway holds the key.

    Args:
        private_key_pem: Ed25519 private key, PKCS#8 PEM.

    Raises:
        ValueError: not such a key.
    """

    def __init__(self, private_key_pem: bytes, *, ttl_s: int = DEFAULT_TTL_S) -> None:
        key = load_pem_private_key(private_key_pem, password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("the principal key is not an Ed25519 private key")
        self._key = key
        self._ttl_s = ttl_s
        self._latest: dict[Principal, tuple[int, str]] = {}
        """When a principal was signed last, Unix seconds, and its token."""

    def sign(self, principal: Principal) -> str:
        """Return a token that stands for `principal` until it expires.

        It may be up to `REUSE_S` old: who writes often is not signed for each time.
        """
        now = int(time.time())
        at, token = self._latest.get(principal, (0, ""))
        if not 0 <= now - at < min(REUSE_S, self._ttl_s):
            token = self._signed(principal, now)
            if len(self._latest) >= REMEMBERED:
                self._latest.clear()
            self._latest[principal] = now, token
        return token

    def _signed(self, principal: Principal, now: int) -> str:
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + self._ttl_s + REUSE_S,
            "sub": principal.user,
            "ten": principal.tenant,
            "scp": sorted(principal.scopes),
            "cnv": principal.conversation_id,
            "chn": principal.channel,
        }
        return jwt.encode(claims, self._key, algorithm="EdDSA")


def has_expired(token: str) -> bool:
    """Return whether nobody would believe `token` any more for its age; its signature is not read.

    What is no token of ours has expired, too.
    """
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
        return float(claims["exp"]) + LEEWAY_S < time.time()
    except (jwt.InvalidTokenError, KeyError, ValueError, TypeError, OverflowError):
        return True


class PrincipalVerifier:
    """Believes principals that the gateway signed.

    Args:
        public_key_pem: Ed25519 public key, SubjectPublicKeyInfo PEM.

    Raises:
        ValueError: not such a key.
    """

    def __init__(self, public_key_pem: bytes) -> None:
        key = load_pem_public_key(public_key_pem)
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("the principal key is not an Ed25519 public key")
        self._key = key

    def verify(self, token: str) -> Principal:
        """Return the principal in `token`.

        Raises:
            Unauthenticated: forged, expired, or not a principal of ours.
        """
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=["EdDSA"],
                issuer=ISSUER,
                audience=AUDIENCE,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
            return Principal.model_validate(
                {
                    "tenant": claims["ten"],
                    "user": claims["sub"],
                    "scopes": claims["scp"],
                    "conversation_id": claims["cnv"],
                    "channel": claims["chn"],
                }
            )
        except (jwt.InvalidTokenError, KeyError, ValueError) as exc:
            raise Unauthenticated("the principal is not signed by the gateway or expired") from exc
