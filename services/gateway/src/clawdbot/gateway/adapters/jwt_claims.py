"""What a token's claims mean: tenant, subject, scopes, times."""

from __future__ import annotations

import math
from dataclasses import dataclass

from clawdbot.gateway.adapters.fields import no_control
from clawdbot.schema.ids import TOKEN, Tenant
from clawdbot.schema.principal import Scope

_KNOWN_SCOPES = {scope.value: scope for scope in Scope}


@dataclass(frozen=True)
class Rules:
    """What a token must say, and under which names; the defaults are our own tokens'."""

    algorithm: str = "HS256"
    issuer: str = "clawdbot"
    audience: str = "clawdbot"
    tenant_claim: str = "tenant"
    default_tenant: Tenant | None = None
    scopes_claim: str = "scopes"

    def tenant_of(self, claims: dict[str, object]) -> Tenant:
        """Return the tenant that `claims` name, or the default when they name none.

        Raises:
            KeyError: they name none, and there is no default.
            ValueError: what they name is no tenant.
        """
        if self.default_tenant is not None and self.tenant_claim not in claims:
            return self.default_tenant
        named = claims[self.tenant_claim]
        if not isinstance(named, str) or not TOKEN.fullmatch(named):
            raise ValueError("tenant")
        return Tenant(named)


def granted(scopes: object) -> frozenset[Scope]:
    """Return the scopes that we know; a text has spaces between them (RFC 6749 section 3.3).

    Raises:
        TypeError: neither a list nor a text.
    """
    names = scopes.split(" ") if isinstance(scopes, str) else scopes
    if not isinstance(names, list):
        raise TypeError("scopes")
    return frozenset(_KNOWN_SCOPES[name] for name in names if name in _KNOWN_SCOPES)


def text(value: object, max_chars: int) -> str:
    """Return a claim that may stand in ids and logs.

    Raises:
        ValueError: no text, empty, too long, or with characters that have no place there.
    """
    if not isinstance(value, str) or not 0 < len(value) <= max_chars:
        raise ValueError("not a text of the right length")
    # Joined to ids and logs as UTF-8, which has no lone surrogates.
    no_control(value).encode("utf-8")
    return value


def time_of(value: object) -> float:
    """Return a NumericDate, which may have a fraction (RFC 7519 section 2).

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("not a time")
    return float(value)
