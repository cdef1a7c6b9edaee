"""Envelope encryption of sensitive memories: a master key wraps one data key per tenant.

A sealed value is bound to its place (tenant, user, id, field), so that nobody who can write to the
database can move it to another row. Deleting a tenant's data key makes every copy unreadable.

Source: AES-256-GCM (NIST SP 800-38D) with random 96-bit nonces.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from base64 import b64decode
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from clawdbot.runtime.config import ConfigError
from clawdbot.schema.errors import Internal
from clawdbot.schema.ids import Tenant

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
FORMAT: Final = b"\x01"
"""First byte of every sealed value: AES-256-GCM, then nonce, then ciphertext with tag."""


class MasterKey:
    """Wraps data keys; never touches a memory itself.

    Args:
        secret: 32 bytes, as 64 hex digits or as base64.

    Raises:
        ConfigError: it is none of these.
    """

    def __init__(self, secret: bytes) -> None:
        self._key = _key_in(secret)

    def new_data_key(self) -> DataKey:
        """Return a fresh random key."""
        return DataKey(os.urandom(KEY_BYTES))

    def wrap(self, tenant: Tenant, key: DataKey) -> bytes:
        """Return `key` as it may be stored, for `tenant` alone."""
        return _seal(self._key, key.secret, ("data key", tenant))

    def unwrap(self, tenant: Tenant, wrapped: bytes) -> DataKey:
        """Return the data key that was wrapped for `tenant`.

        Raises:
            Internal: another master key wrapped it, or it was changed.
        """
        return DataKey(_open(self._key, wrapped, ("data key", tenant)))


class DataKey:
    """Seals the fields of one tenant's sensitive memories."""

    def __init__(self, secret: bytes) -> None:
        self.secret = secret

    def seal(self, plain: bytes, *place: str) -> bytes:
        """Return `plain` encrypted; it opens only with the same `place`."""
        return _seal(self.secret, plain, place)

    def open(self, sealed: bytes, *place: str) -> bytes:
        """Return what was sealed at `place`.

        Raises:
            Internal: it was changed, moved, or sealed with another key.
        """
        return _open(self.secret, sealed, place)

    def fingerprint(self, text: str) -> str:
        """Return 64 hex digits that tell whether texts are equal, to holders of the key alone."""
        keyed = hmac.digest(self.secret, b"fingerprint", hashlib.sha256)
        return hmac.digest(keyed, text.encode(), hashlib.sha256).hex()


def _seal(key: bytes, plain: bytes, place: tuple[str, ...]) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return FORMAT + nonce + AESGCM(key).encrypt(nonce, plain, _framed(place))


def _open(key: bytes, sealed: bytes, place: tuple[str, ...]) -> bytes:
    nonce, body = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
    try:
        if sealed[:1] != FORMAT:
            raise InvalidTag
        return AESGCM(key).decrypt(nonce, body, _framed(place))
    except (InvalidTag, ValueError) as exc:
        raise Internal("a sealed value does not open: wrong master key, or it was changed") from exc


def _framed(place: tuple[str, ...]) -> bytes:
    # Lengths keep ("ab", "c") apart from ("a", "bc").
    parts = [part.encode() for part in place]
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _key_in(secret: bytes) -> bytes:
    if re.fullmatch(rb"[0-9a-fA-F]{64}", secret):
        return bytes.fromhex(secret.decode())
    if re.fullmatch(rb"[A-Za-z0-9+/_-]{43}=?", secret):
        return b64decode(
            secret.rstrip(b"=") + b"=", altchars=b"-_" if b"-" in secret or b"_" in secret else None
        )
    raise ConfigError(
        "the secret 'memory_master_key' must be 32 bytes, as 64 hex digits or base64: "
        "make one with 'openssl rand -hex 32'"
    )
