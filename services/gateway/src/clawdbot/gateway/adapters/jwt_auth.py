"""Who holds an API token: JSON Web Tokens of one algorithm, fixed by configuration.

Nothing that a token says of itself chooses how it is verified: `alg` must be ours, `kid` may only
name a key that we have, and `jku`, `x5u` and `jwk` are not looked at.

Source: RFC 7519 (JWT), RFC 8725 (best current practices), RFC 6750 (Bearer).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import jwt
from starlette.requests import Request

from clawdbot.gateway.adapters.doorway import vouch
from clawdbot.gateway.adapters.jwt_claims import Rules, granted, text, time_of
from clawdbot.gateway.adapters.jwt_keys import KeySource, VerifyingKey
from clawdbot.gateway.adapters.refusals import TokenRefused
from clawdbot.gateway.adapters.revocations import RevocationList
from clawdbot.runtime.telemetry import annotate
from clawdbot.schema.errors import Forbidden
from clawdbot.schema.ids import Tenant
from clawdbot.schema.principal import Scope
from clawdbot.schema.tokens import LEEWAY_S, MAX_LIFETIME, MAX_TOKEN_ID_CHARS

MAX_TOKEN_CHARS = 8192
MAX_SUBJECT_CHARS = 256
_MISREAD = (LookupError, TypeError, ValueError, ArithmeticError, RecursionError)
"""How claims fail that are not what they should be; the last is JSON that is nested too deep."""


@dataclass(frozen=True)
class Identity:
    """A person or program that a token speaks for."""

    tenant: Tenant
    subject: str
    scopes: frozenset[Scope]
    token_id: str | None = None
    """The token's `jti`, for audit; names it and proves nothing."""
    issued_at_s: float = 0.0
    expires_at_s: float = math.inf
    """Unix time."""

    def require(self, scope: Scope) -> None:
        """Pass when the token grants `scope`.

        Raises:
            Forbidden: it does not.
        """
        if scope not in self.scopes:
            raise Forbidden(
                f"the token lacks the scope {scope.value!r}",
                fix=f"use a token whose scopes include {scope.value!r}",
            )


class Tokens:
    """Verifies API tokens.

    Args:
        keys: where a token's key is looked up.
        rules: what a token must say, and where it says whom it speaks for.
        revocations: what was withdrawn.
    """

    def __init__(self, keys: KeySource, rules: Rules, revocations: RevocationList) -> None:
        self._keys = keys
        self._rules = rules
        self._revocations = revocations

    async def identify(self, request: Request) -> Identity:
        """Return whose token the request carries.

        Raises:
            TokenRefused: none, several, expired, revoked, forged, or not a token of ours.
            RateLimited: too many authentic requests from this address.
            Unavailable: keys or revocations were not read yet.
        """
        values = request.headers.getlist("authorization")
        scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
        if scheme.lower() != "bearer":
            raise _refused()
        identity = await self.identify_token(token.strip())
        vouch(request.scope)
        return identity

    async def identify_token(self, token: str) -> Identity:
        """Return whom `token` speaks for, wherever it was found.

        Raises:
            TokenRefused: expired, revoked, forged, or not a token of ours.
            Unavailable: keys or revocations were not read yet.
        """
        if not 0 < len(token) <= MAX_TOKEN_CHARS:
            raise _refused()
        try:
            identity = self._read(self._verified(token, await self._key(token)))
        except (jwt.PyJWTError, *_MISREAD) as exc:
            raise _refused() from exc
        self.recheck(identity)
        if identity.token_id is not None:
            annotate(clawdbot__token_id=identity.token_id)
        return identity

    def recheck(self, identity: Identity) -> None:
        """Pass while the token behind `identity` still counts; a connection may outlive it.

        Raises:
            TokenRefused: it expired or was revoked.
            Unavailable: revocations were not read yet.
        """
        is_revoked = self._revocations.revokes(
            token_id=identity.token_id,
            tenant=identity.tenant,
            subject=identity.subject,
            issued_at_s=identity.issued_at_s,
        )
        if is_revoked or identity.expires_at_s + LEEWAY_S <= time.time():
            raise _refused()

    async def _key(self, token: str) -> VerifyingKey:
        header = jwt.get_unverified_header(token)
        # Before the look-up, so that only what could be ours has keys fetched.
        if header.get("alg") != self._rules.algorithm or "crit" in header:
            raise jwt.InvalidAlgorithmError
        key = await self._keys.find(header.get("kid"))
        if key is None:
            raise LookupError("kid")
        return key

    def _verified(self, token: str, key: VerifyingKey) -> dict[str, object]:
        return jwt.decode(
            token,
            key,
            algorithms=[self._rules.algorithm],
            issuer=self._rules.issuer,
            audience=self._rules.audience,
            leeway=LEEWAY_S,
            options={"require": ["exp", "iat", "iss", "aud", "sub"]},
        )

    def _read(self, claims: dict[str, object]) -> Identity:
        issued_at_s, expires_at_s = time_of(claims["iat"]), time_of(claims["exp"])
        # A longer life would outlast the memory of its revocation.
        if expires_at_s - issued_at_s > MAX_LIFETIME.total_seconds():
            raise ValueError("exp")
        token_id = claims.get("jti")
        return Identity(
            self._rules.tenant_of(claims),
            text(claims["sub"], MAX_SUBJECT_CHARS),
            granted(claims[self._rules.scopes_claim]),
            None if token_id is None else text(token_id, MAX_TOKEN_ID_CHARS),
            issued_at_s,
            expires_at_s,
        )


def _refused() -> TokenRefused:
    return TokenRefused(
        "a valid token is needed",
        fix="send 'Authorization: Bearer <token>' with a token that has not expired",
    )
