"""API tokens, as the gateway believes them."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from clawdbot.cli.failures import MISUSED, Failure
from clawdbot.runtime.config import Config, ConfigError
from clawdbot.runtime.config_sections import JWTSettings
from clawdbot.runtime.secrets import JWT, JWT_PRIVATE, Secrets
from clawdbot.schema.ids import TOKEN
from clawdbot.schema.principal import Scope
from clawdbot.schema.tokens import (
    MAX_LIFETIME,
    TokenRecord,
    public_jwk,
    secret_key_id,
    secret_lines,
)

OWNER = "owner"
"""Whom the tokens that `clawdbot` makes for itself speak for."""
ALL_SCOPES = tuple(scope.value for scope in Scope)
DEFAULT_SCOPES = (Scope.CHAT.value, Scope.MEMORY_READ.value, Scope.MEMORY_WRITE.value)
"""Enough to talk and be remembered; who may approve or administrate asks for it by name."""
DEFAULT_TTL = timedelta(hours=24)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
PrivateKey: TypeAlias = RSAPrivateKey | Ed25519PrivateKey


@dataclass(frozen=True)
class IssuedToken:
    """A new token, and what may be kept of it."""

    text: str = field(repr=False)
    record: TokenRecord


@dataclass(frozen=True)
class Signer:
    """Makes tokens under the newest key."""

    rules: JWTSettings
    key: bytes | PrivateKey = field(repr=False)
    key_id: str

    @classmethod
    def of(cls, config: Config, found: Secrets) -> Signer:
        """Return the signer whose tokens a gateway of this configuration believes.

        Raises:
            Failure: tokens come from an identity provider.
            ConfigError: its key is missing or of another kind.
        """
        rules = config.gateway.jwt
        if rules.jwks_url is not None:
            raise Failure(
                f"tokens come from the identity provider whose keys are at {rules.jwks_url}",
                fix="get one there (docs/tokens.md)",
            )
        if rules.algorithm == "HS256":
            try:
                secret = secret_lines(found.read(JWT))[0]
            except ValueError as exc:
                raise ConfigError(f"the secret {JWT!r} cannot be used: {exc}") from exc
            return cls(rules, secret, secret_key_id(secret))
        key = read_private_key(found, rules.algorithm)
        return cls(rules, key, public_jwk(key.public_key())["kid"])

    def issue(
        self,
        *,
        user: str = OWNER,
        tenant: str = "default",
        scopes: tuple[str, ...] = DEFAULT_SCOPES,
        ttl: timedelta = DEFAULT_TTL,
    ) -> IssuedToken:
        """Return a token that speaks for `user` of `tenant` for `ttl`.

        Raises:
            Failure: tenant, user, a scope or the time is none that the gateway would accept.
        """
        _check(user, tenant, scopes, ttl)
        now_ms = time.time_ns() // 1_000_000
        expires_s = now_ms // 1000 + int(ttl.total_seconds())
        record = TokenRecord(
            token_id=secrets.token_hex(8),
            tenant=tenant,
            subject=user,
            scopes=tuple(sorted(set(scopes))),
            issued_at_ms=now_ms,
            expires_at_ms=expires_s * 1000,
        )
        claims = {
            "iss": self.rules.issuer,
            "aud": self.rules.audience,
            # With a fraction, so that a token made right after its subject's were revoked counts.
            "iat": now_ms / 1000,
            "exp": expires_s,
            "sub": user,
            "jti": record.token_id,
            self.rules.tenant_claim: tenant,
            self.rules.scopes_claim: list(record.scopes),
        }
        headers = {"kid": self.key_id}
        text = jwt.encode(claims, self.key, algorithm=self.rules.algorithm, headers=headers)
        return IssuedToken(text, record)


def read_private_key(found: Secrets, algorithm: str) -> PrivateKey:
    """Return the key that signs tokens where they are not HS256.

    Raises:
        ConfigError: it is missing, or no key for `algorithm`.
    """
    try:
        key = _fitting(load_pem_private_key(found.read(JWT_PRIVATE), password=None), algorithm)
        public_jwk(key.public_key())
    except (ValueError, TypeError) as exc:
        raise ConfigError(f"the secret {JWT_PRIVATE!r} cannot be used: {exc}") from exc
    return key


def _fitting(key: object, algorithm: str) -> PrivateKey:
    if algorithm == "RS256" and isinstance(key, RSAPrivateKey):
        return key
    if algorithm == "EdDSA" and isinstance(key, Ed25519PrivateKey):
        return key
    raise ValueError(f"it is no key for {algorithm}")


def parse_ttl(text: str) -> timedelta:
    """Return the time that `text` says, such as `90s`, `30m`, `12h` or `7d`.

    Raises:
        Failure: it says none.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,7})([smhd])", text)
    if match is None:
        raise _misuse(f"the time {text!r} is not a number with s, m, h or d, such as 12h")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def _check(user: str, tenant: str, scopes: tuple[str, ...], ttl: timedelta) -> None:
    if not TOKEN.fullmatch(tenant):
        raise _misuse(f"the tenant {tenant!r} is not 1 to 64 of A-Z a-z 0-9 _ -")
    if not 0 < len(user) <= 256 or not user.isprintable():
        raise _misuse("the subject must be 1 to 256 printable characters")
    if unknown := sorted(set(scopes) - set(ALL_SCOPES)):
        raise _misuse(f"unknown scope {unknown[0]!r}; known are {', '.join(ALL_SCOPES)}")
    if ttl > MAX_LIFETIME:
        raise _misuse(f"a token lives for at most {MAX_LIFETIME.days}d")


def _misuse(message: str) -> Failure:
    return Failure(message, status=MISUSED)
