"""Who holds an API token: JSON Web Tokens signed with HS256 under a shared secret.

Source: RFC 7519 (JWT), RFC 7518 section 3.2 (keys of at least 256 bits), RFC 6750 (Bearer).
"""

from __future__ import annotations

from dataclasses import dataclass

import jwt
from starlette.requests import Request

from clawdbot.gateway.adapters.doorway import vouch
from clawdbot.gateway.adapters.fields import no_control
from clawdbot.gateway.adapters.refusals import TokenRefused
from clawdbot.schema.errors import Forbidden
from clawdbot.schema.ids import TOKEN, Tenant
from clawdbot.schema.principal import Scope

ISSUER = "clawdbot"
AUDIENCE = "clawdbot"
MAX_TOKEN_CHARS = 8192
MAX_ID_CHARS = 256
MIN_SECRET_BYTES = 32
_KNOWN_SCOPES = {scope.value: scope for scope in Scope}


@dataclass(frozen=True)
class Identity:
    """A person or program that a token speaks for."""

    tenant: Tenant
    subject: str
    scopes: frozenset[Scope]
    token_id: str | None = None
    """The token's `jti`, for audit; names it and proves nothing."""

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
        secret: at least `MIN_SECRET_BYTES`.

    Raises:
        ValueError: the secret is shorter.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) < MIN_SECRET_BYTES:
            raise ValueError(f"the secret for tokens needs at least {MIN_SECRET_BYTES} bytes")
        self._secret = secret

    async def identify(self, request: Request) -> Identity:
        """Return whose token the request carries.

        Raises:
            TokenRefused: none, several, expired, forged, or not a token of ours.
            RateLimited: too many authentic requests from this address.
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
            TokenRefused: expired, forged, or not a token of ours.
        """
        if not 0 < len(token) <= MAX_TOKEN_CHARS:
            raise _refused()
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=["HS256"],
                issuer=ISSUER,
                audience=AUDIENCE,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
            return _read(claims)
        except (jwt.InvalidTokenError, KeyError, TypeError, ValueError, OverflowError) as exc:
            raise _refused() from exc


def _read(claims: dict[str, object]) -> Identity:
    tenant, subject, scopes = claims["tenant"], claims["sub"], claims["scopes"]
    if not isinstance(tenant, str) or not TOKEN.fullmatch(tenant):
        raise ValueError("tenant")
    if not isinstance(subject, str) or not 0 < len(subject) <= 256:
        raise ValueError("sub")
    # Joined to ids and logs as UTF-8, which has no lone surrogates.
    no_control(subject).encode("utf-8")
    if not isinstance(scopes, list):
        raise TypeError("scopes")
    granted = frozenset(_KNOWN_SCOPES[name] for name in scopes if name in _KNOWN_SCOPES)
    return Identity(Tenant(tenant), subject, granted, _token_id(claims.get("jti")))


def _token_id(jti: object) -> str | None:
    if jti is None:
        return None
    if not isinstance(jti, str) or not 0 < len(jti) <= MAX_ID_CHARS:
        raise ValueError("jti")
    no_control(jti).encode("utf-8")
    return jti


def _refused() -> TokenRefused:
    return TokenRefused(
        "a valid token is needed",
        fix="send 'Authorization: Bearer <token>' with a token that has not expired",
    )
