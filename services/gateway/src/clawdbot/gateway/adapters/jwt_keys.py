"""Keys by which API tokens are believed: shared secrets, or public keys of one algorithm.

Source: RFC 7517 (JSON Web Key), RFC 7518 section 6.3 (RSA), RFC 8037 (Ed25519).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import OKPAlgorithm, RSAAlgorithm

from clawdbot.schema.tokens import PublicKey, require_rsa_size, secret_key_id, secret_lines

VerifyingKey: TypeAlias = bytes | PublicKey
MAX_KEYS = 64
MAX_KEY_ID_CHARS = 256
_ALGORITHM_NAMES = {"RS256": {"RS256"}, "EdDSA": {"EdDSA", "Ed25519"}}
"""What the `alg` of a key may say; RFC 9864 gives EdDSA over Ed25519 a name of its own."""


class KeySource(Protocol):
    """Where the key of a token is looked up."""

    async def find(self, key_id: str | None) -> VerifyingKey | None:
        """Return the key that `key_id` names, or None.

        Raises:
            Unavailable: no keys are known yet.
        """
        ...


@dataclass(frozen=True)
class KeySet:
    """Keys by name; a name is demanded when there are several."""

    keys: Mapping[str | None, VerifyingKey] = field(repr=False)

    async def find(self, key_id: str | None) -> VerifyingKey | None:
        """Return the key that `key_id` names, or the only one when a token names none."""
        return self.get(key_id)

    def get(self, key_id: str | None) -> VerifyingKey | None:
        """As `find`."""
        if key_id is None:
            return next(iter(self.keys.values())) if len(self.keys) == 1 else None
        return self.keys.get(key_id)


def secret_keys(value: bytes) -> KeySet:
    """Return the HS256 secrets in `value`, one a line.

    Raises:
        ValueError: there is none, too many, or one is too short.
    """
    lines = secret_lines(value)
    if len(lines) > MAX_KEYS:
        raise ValueError(f"there are more than {MAX_KEYS} secrets")
    return KeySet({secret_key_id(line): line for line in lines})


def public_keys(raw: bytes, algorithm: str, *, ignores_others: bool) -> KeySet:
    """Return the keys for `algorithm` of the JSON Web Key Set `raw`.

    Args:
        raw: its JSON.
        algorithm: `RS256` or `EdDSA`.
        ignores_others: pass over what is no key for `algorithm`, as a provider's set has them.

    Raises:
        ValueError: no such set, or no key of it can be used.
    """
    found: dict[str | None, VerifyingKey] = {}
    for entry in _entries(raw):
        try:
            key_id, key = _public_key(entry, algorithm)
            if key_id in found:
                raise ValueError(f"two keys are called {key_id!r}")
        except (ValueError, TypeError, KeyError, jwt.InvalidKeyError) as exc:
            if not ignores_others:
                raise ValueError(f"a key cannot be used: {exc}") from exc
        else:
            found[key_id] = key
    if not found:
        raise ValueError(f"it holds no key for {algorithm}")
    if None in found and len(found) > 1:
        raise ValueError("a key without a kid stands beside others")
    return KeySet(found)


def _entries(raw: bytes) -> list[object]:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as exc:
        raise ValueError("it is not JSON") from exc
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise ValueError(f"it is no set of at most {MAX_KEYS} keys")
    return entries


def _public_key(entry: object, algorithm: str) -> tuple[str | None, PublicKey]:
    if not isinstance(entry, dict):
        raise TypeError("not an object")
    key_id = entry.get("kid")
    if key_id is not None and not (isinstance(key_id, str) and 0 < len(key_id) <= MAX_KEY_ID_CHARS):
        raise ValueError(f"its kid is not 1 to {MAX_KEY_ID_CHARS} characters")
    if entry.get("alg", algorithm) not in _ALGORITHM_NAMES[algorithm]:
        raise ValueError(f"it is not for {algorithm}")
    if entry.get("use", "sig") != "sig" or "verify" not in entry.get("key_ops", ["verify"]):
        raise ValueError("it is not for signatures")
    return key_id, _rsa_key(entry) if algorithm == "RS256" else _ed25519_key(entry)


def _rsa_key(entry: dict[str, object]) -> RSAPublicKey:
    if entry["kty"] != "RSA":
        raise ValueError("it is no RSA key")
    key = RSAAlgorithm.from_jwk(_members(entry, "kty", "n", "e"))
    if not isinstance(key, RSAPublicKey):
        raise TypeError("it is no public key")
    require_rsa_size(key)
    return key


def _ed25519_key(entry: dict[str, object]) -> Ed25519PublicKey:
    if (entry["kty"], entry["crv"]) != ("OKP", "Ed25519"):
        raise ValueError("it is no Ed25519 key")
    key = OKPAlgorithm.from_jwk(_members(entry, "kty", "crv", "x"))
    if not isinstance(key, Ed25519PublicKey):
        raise TypeError("it is no public key")
    return key


def _members(entry: dict[str, object], *names: str) -> dict[str, str]:
    # Without the private ones, should somebody have published them.
    found = {name: entry[name] for name in names}
    if not all(isinstance(value, str) for value in found.values()):
        raise TypeError("a member is no text")
    return {name: str(value) for name, value in found.items()}
