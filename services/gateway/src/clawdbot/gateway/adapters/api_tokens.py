"""API tokens as the configuration wants them: rules, keys, and what was revoked since."""

from __future__ import annotations

from contextlib import suppress

from clawdbot.gateway.adapters.jwks import PublishedKeys
from clawdbot.gateway.adapters.jwt_auth import Tokens
from clawdbot.gateway.adapters.jwt_claims import Rules
from clawdbot.gateway.adapters.jwt_keys import KeySource, public_keys, secret_keys
from clawdbot.gateway.adapters.revocations import Revocations
from clawdbot.runtime import secrets
from clawdbot.runtime.config import ConfigError
from clawdbot.runtime.config_sections import JWTSettings
from clawdbot.runtime.records import Records
from clawdbot.runtime.secrets import Secrets
from clawdbot.runtime.service import Runtime
from clawdbot.schema.errors import Retryable
from clawdbot.schema.ids import Tenant
from clawdbot.schema.streams import TOKENS
from clawdbot.schema.tokens import TokenRecord


async def open_tokens(runtime: Runtime, wanted: JWTSettings) -> Tokens:
    """Believe the tokens that are wanted, less those that are revoked; not ready until it can.

    Raises:
        ConfigError: a key is missing or cannot be used.
        Unavailable: the broker is not provisioned or does not answer.
    """
    keys = await _keys(runtime, wanted)
    revocations = Revocations(await Records.open(runtime.bus, TOKENS, TokenRecord))
    runtime.health.ready_when("revocations", revocations.stale)
    # So that the first requests find a list; if it cannot be read now, `run` goes on trying.
    with suppress(Retryable):
        await revocations.look()
    runtime.spawn(revocations.run(), name="revocations")
    return Tokens(keys, _rules(wanted), revocations)


async def _keys(runtime: Runtime, wanted: JWTSettings) -> KeySource:
    if wanted.jwks_url is None:
        return _own_keys(runtime.secrets, wanted.algorithm)
    published = await runtime.enter(PublishedKeys.open(wanted.jwks_url, wanted.algorithm))
    runtime.health.ready_when("token-keys", published.missing)
    runtime.health.warn_when("token-keys", published.failing)
    runtime.spawn(published.run(refresh_s=wanted.jwks_refresh_s), name="token-keys")
    return published


def _own_keys(found: Secrets, algorithm: str) -> KeySource:
    name = secrets.JWT if algorithm == "HS256" else secrets.JWT_PUBLIC
    value = found.read(name)
    try:
        if algorithm == "HS256":
            return secret_keys(value)
        return public_keys(value, algorithm, ignores_others=False)
    except ValueError as exc:
        raise ConfigError(f"the secret {name!r} cannot be used: {exc}") from exc


def _rules(wanted: JWTSettings) -> Rules:
    tenant = wanted.default_tenant
    return Rules(
        algorithm=wanted.algorithm,
        issuer=wanted.issuer,
        audience=wanted.audience,
        tenant_claim=wanted.tenant_claim,
        default_tenant=None if tenant is None else Tenant(tenant),
        scopes_claim=wanted.scopes_claim,
    )
