"""Keys of API tokens: the first one, the next one, and the end of the old ones.

A new key takes over while the old ones are still believed, so that no token stops in between.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from clawdbot.cli.failures import Failure
from clawdbot.cli.tokens import PrivateKey, read_private_key
from clawdbot.runtime.config import Config, ConfigError
from clawdbot.runtime.secrets import JWT, JWT_PRIVATE, JWT_PUBLIC, Secrets
from clawdbot.schema.tokens import public_jwk, secret_key_id, secret_lines

RSA_BITS = 3072
"""Strong enough beyond 2030 (NIST SP 800-57 part 1)."""


def ensure_keys(config: Config, found: Secrets) -> list[str]:
    """Make the keys that the configuration wants and that are missing; return their names.

    The secret of HS256 is made with all others (`clawdbot.cli.secrets_setup`).
    """
    rules = config.gateway.jwt
    if rules.algorithm == "HS256" or rules.jwks_url is not None or _has(found, JWT_PUBLIC):
        return []
    if _has(found, JWT_PRIVATE):
        _replace(found, JWT_PUBLIC, key_set(config, found).encode())
        return [JWT_PUBLIC]
    add_key(config, found)
    return [JWT_PRIVATE, JWT_PUBLIC]


def add_key(config: Config, found: Secrets) -> str:
    """Make a new key that signs from now on, beside those that are believed; return its `kid`.

    Raises:
        Failure: keys are not kept here: they come from a provider or from the environment.
    """
    _require_ours(config)
    algorithm = config.gateway.jwt.algorithm
    if algorithm == "HS256":
        secret = secrets.token_hex(32).encode()
        old = secret_lines(found.read(JWT)) if _has(found, JWT) else ()
        _replace(found, JWT, b"\n".join([secret, *old]))
        return secret_key_id(secret)
    key: PrivateKey = (
        rsa.generate_private_key(65537, RSA_BITS)
        if algorithm == "RS256"
        else Ed25519PrivateKey.generate()
    )
    new = public_jwk(key.public_key())
    # First whoever believes, then whoever signs.
    _replace(found, JWT_PUBLIC, _document([new, *_published(found)]))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _replace(found, JWT_PRIVATE, pem)
    return new["kid"]


def drop_old_keys(config: Config, found: Secrets) -> int:
    """Stop believing every key but the one that signs; return how many those were.

    Raises:
        Failure: keys are not kept here.
    """
    _require_ours(config)
    algorithm = config.gateway.jwt.algorithm
    if algorithm == "HS256":
        newest, *others = secret_lines(found.read(JWT))
        _replace(found, JWT, newest)
        return len(others)
    signing = public_jwk(read_private_key(found, algorithm).public_key())
    dropped = [entry for entry in _published(found) if entry.get("kid") != signing["kid"]]
    _replace(found, JWT_PUBLIC, _document([signing]))
    return len(dropped)


def key_set(config: Config, found: Secrets) -> str:
    """Return the JSON Web Key Set by which tokens are believed.

    Raises:
        Failure: there is none to publish.
    """
    rules = config.gateway.jwt
    if rules.algorithm == "HS256":
        raise Failure("HS256 has no public keys", fix="set gateway.jwt.algorithm to EdDSA")
    if _has(found, JWT_PUBLIC):
        return found.text(JWT_PUBLIC)
    key = read_private_key(found, rules.algorithm)
    return _document([public_jwk(key.public_key())]).decode()


def _published(found: Secrets) -> list[dict[str, object]]:
    if not _has(found, JWT_PUBLIC):
        return []
    try:
        keys: list[dict[str, object]] = json.loads(found.read(JWT_PUBLIC))["keys"]
    except (ValueError, KeyError, TypeError) as exc:
        raise ConfigError(f"the secret {JWT_PUBLIC!r} is no JSON Web Key Set") from exc
    return keys


def _document(keys: Sequence[Mapping[str, object]]) -> bytes:
    return json.dumps({"keys": keys}, indent=2).encode()


def _require_ours(config: Config) -> None:
    if (url := config.gateway.jwt.jwks_url) is not None:
        raise Failure(f"the keys of tokens are those at {url}", fix="rotate them there")


def _has(found: Secrets, name: str) -> bool:
    try:
        return bool(found.read(name))
    except ConfigError:
        return False


def _replace(found: Secrets, name: str, value: bytes) -> None:
    """Write a secret for its owner alone, whole or not at all."""
    if os.environ.get(variable := f"CLAWDBOT_SECRET_{name.upper()}"):
        raise Failure(
            f"the secret {name!r} is given by {variable}", fix="change it where that is set"
        )
    found.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(prefix=".new-", dir=found.directory)
    with os.fdopen(handle, "wb") as file:
        file.write(value + b"\n")
        file.flush()
        os.fsync(file.fileno())
    Path(scratch).replace(found.directory / name)
