"""API tokens, as the gateway believes them."""

from __future__ import annotations

import re
import time
from datetime import timedelta

import jwt

from clawdbot.cli.failures import MISUSED, Failure
from clawdbot.schema.ids import TOKEN
from clawdbot.schema.principal import Scope

ISSUER = AUDIENCE = "clawdbot"
OWNER = "owner"
"""Whom the tokens that `clawdbot` makes for itself speak for."""
ALL_SCOPES = tuple(scope.value for scope in Scope)
DEFAULT_SCOPES = (Scope.CHAT.value, Scope.MEMORY_READ.value, Scope.MEMORY_WRITE.value)
"""Enough to talk and be remembered; who may approve or administrate asks for it by name."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def make_token(
    secret: bytes,
    *,
    user: str = OWNER,
    tenant: str = "default",
    scopes: tuple[str, ...] = DEFAULT_SCOPES,
    ttl: timedelta = timedelta(hours=24),
) -> str:
    """Return a token that speaks for `user` of `tenant` for `ttl`.

    Raises:
        Failure: tenant, user or a scope is none that the gateway would accept.
    """
    if not TOKEN.fullmatch(tenant):
        raise _misuse(f"the tenant {tenant!r} is not 1 to 64 of A-Z a-z 0-9 _ -")
    if not 0 < len(user) <= 256:
        raise _misuse("the user must be 1 to 256 characters")
    if unknown := sorted(set(scopes) - set(ALL_SCOPES)):
        raise _misuse(f"unknown scope {unknown[0]!r}; known are {', '.join(ALL_SCOPES)}")
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + int(ttl.total_seconds()),
        "sub": user,
        "tenant": tenant,
        "scopes": sorted(set(scopes)),
    }
    return jwt.encode(claims, secret, algorithm="HS256")


def parse_ttl(text: str) -> timedelta:
    """Return the time that `text` says, such as `90s`, `30m`, `12h` or `7d`.

    Raises:
        Failure: it says none.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,7})([smhd])", text)
    if match is None:
        raise _misuse(f"the time {text!r} is not a number with s, m, h or d, such as 12h")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def _misuse(message: str) -> Failure:
    return Failure(message, status=MISUSED)
