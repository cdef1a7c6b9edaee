"""API tokens: what is kept of each, what withdraws one, and how the key of one is named.

A record proves nothing: a token is believed for its signature, and a record can only withdraw it.

Source: RFC 7519 (claims), RFC 7638 (names of keys), RFC 7518 section 3.2 and RFC 8725 (sizes).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from datetime import timedelta
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from clawdbot.schema.ids import derived
from clawdbot.schema.wire import Wire

MAX_LIFETIME = timedelta(days=366)
"""Longest time from `iat` to `exp`; so a revocation need not be remembered for longer."""
LEEWAY_S = 10
"""Clock difference between who signs and who verifies that is forgiven."""
FORGET_AFTER = timedelta(hours=1)
"""How long a record outlives its token, for whoever wonders why it stopped."""
MAX_TOKEN_ID_CHARS = 256
MIN_SECRET_BYTES = 32
MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192
"""Verification takes the square of it; nobody may have us compute for seconds."""

PublicKey: TypeAlias = RSAPublicKey | Ed25519PublicKey


class TokenRecord(Wire):
    """A token that was made here, or one or many that were revoked; never a token itself."""

    SCHEMA = "token-record/1"

    expires_at_ms: int
    """When whatever it speaks of has expired at the latest."""
    token_id: str | None = None
    """The `jti`; None for all tokens of the subject that were issued until `revoked_at_ms`."""
    tenant: str = ""
    """Empty when only the id of the token is known, as that of a foreign issuer."""
    subject: str = ""
    scopes: tuple[str, ...] = ()
    issued_at_ms: int | None = None
    """None when it was not made here."""
    revoked_at_ms: int | None = None


def token_key(token_id: str) -> str:
    """Return the key of a token's record; ids of foreign issuers have any characters."""
    return f"token.{derived(token_id)}"


def subject_key(tenant: str, subject: str) -> str:
    """Return the key of the record that revokes all tokens of a subject."""
    return f"subject.{derived(tenant, subject)}"


def secret_lines(value: bytes) -> tuple[bytes, ...]:
    """Return the HS256 secrets in `value`, one a line: the first signs, any is believed.

    Raises:
        ValueError: there is none, one is too short, or it is a key of another kind.
    """
    if b"-----BEGIN" in value:
        raise ValueError("a key in PEM form is no shared secret")
    lines = tuple(line.strip() for line in value.splitlines() if line.strip())
    if not lines or any(len(line) < MIN_SECRET_BYTES for line in lines):
        raise ValueError(f"a secret for tokens needs at least {MIN_SECRET_BYTES} bytes in a line")
    if len(set(lines)) < len(lines):
        raise ValueError("the same secret stands in two lines")
    return lines


def secret_key_id(secret: bytes) -> str:
    """Return the `kid` of an HS256 secret, from which the secret cannot be computed."""
    return _base64url(hmac.digest(secret, b"clawdbot token kid", hashlib.sha256)[:12])


def public_jwk(key: PublicKey) -> dict[str, str]:
    """Return `key` as a JSON Web Key, named by its RFC 7638 thumbprint.

    Raises:
        ValueError: an RSA key of fewer than `MIN_RSA_BITS` or more than `MAX_RSA_BITS`.
    """
    if isinstance(key, RSAPublicKey):
        require_rsa_size(key)
        numbers = key.public_numbers()
        members = {"e": _number(numbers.e), "kty": "RSA", "n": _number(numbers.n)}
        algorithm = "RS256"
    else:
        raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
        members = {"crv": "Ed25519", "kty": "OKP", "x": _base64url(raw)}
        algorithm = "EdDSA"
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True)
    thumbprint = _base64url(hashlib.sha256(canonical.encode()).digest())
    return {**members, "kid": thumbprint, "use": "sig", "alg": algorithm}


def require_rsa_size(key: RSAPublicKey) -> None:
    """Pass an RSA key that is neither weak nor absurd.

    Raises:
        ValueError: it is.
    """
    if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        raise ValueError(f"an RSA key needs {MIN_RSA_BITS} to {MAX_RSA_BITS} bits")


def _number(value: int) -> str:
    return _base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
