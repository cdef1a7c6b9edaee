from __future__ import annotations

import base64
import hmac
import json
import time
from dataclasses import replace

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from clawdbot.gateway.adapters.jwt_auth import Identity, Tokens
from clawdbot.gateway.adapters.jwt_claims import Rules
from clawdbot.gateway.adapters.jwt_keys import secret_keys
from clawdbot.gateway.adapters.refusals import TokenRefused
from clawdbot.gateway.adapters.revocations import NothingRevoked
from clawdbot.schema.errors import Unauthenticated
from clawdbot.schema.ids import Tenant
from clawdbot.schema.principal import Scope

SECRET = b"a secret of at least thirty-two bytes"
TOKENS = Tokens(secret_keys(SECRET), Rules(), NothingRevoked())


def request(*authorizations: str | bytes) -> Request:
    raw = [
        (b"authorization", value if isinstance(value, bytes) else value.encode())
        for value in authorizations
    ]
    return Request({"type": "http", "headers": raw})


async def test_a_token_tells_tenant_user_and_scopes(token) -> None:
    identity = await TOKENS.identify(
        request(f"bearer {token(scopes=['chat', 'admin', 'unheard-of'])}")
    )

    assert (identity.tenant, identity.subject) == ("default", "ada")
    assert identity.scopes == {Scope.CHAT, Scope.ADMIN}
    assert identity.token_id is None


async def test_a_token_without_a_header_is_read_the_same(token) -> None:
    text = token(jti="t1")

    identity = await TOKENS.identify_token(text)

    assert identity == await TOKENS.identify(request(f"Bearer {text}"))
    assert identity.token_id == "t1"
    with pytest.raises(Unauthenticated):
        await TOKENS.identify_token("")


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": 1},
        {"exp": ...},
        {"exp": time.time() + 400 * 86_400},
        {"exp": True},
        {"exp": 10**400},
        {"iat": ...},
        {"iat": time.time() + 3600},
        {"iat": float("-inf")},
        {"iss": "somebody"},
        {"iss": ...},
        {"aud": "clawdbot-services"},
        {"aud": ...},
        {"sub": ...},
        {"sub": ""},
        {"sub": "x" * 257},
        {"sub": "a\nb"},
        {"sub": "a\x00"},
        {"exp": float("inf")},
        {"tenant": ...},
        {"tenant": "a.b"},
        {"tenant": "*"},
        {"tenant": 5},
        {"scopes": ...},
        {"scopes": {"chat": True}},
        {"scopes": [["chat"]]},
        {"nbf": time.time() + 3600},
        {"jti": ""},
        {"jti": 7},
        {"jti": "a\nb"},
        {"jti": "x" * 257},
    ],
)
async def test_a_token_with_a_wrong_claim_is_refused(token, claims: dict[str, object]) -> None:
    with pytest.raises(Unauthenticated):
        await TOKENS.identify(request(f"Bearer {token(**claims)}"))


async def test_a_token_of_another_key_or_algorithm_is_refused(token) -> None:
    other = token(secret=b"another secret of thirty-two bytes or more")
    longer = token(algorithm="HS512", secret=SECRET * 2)
    claims = jwt.decode(token(), options={"verify_signature": False})
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in ({"alg": "none", "typ": "JWT"}, claims)
    ]
    unsigned = f"{parts[0]}.{parts[1]}."

    for forged in (other, longer, unsigned):
        with pytest.raises(Unauthenticated):
            await TOKENS.identify(request(f"Bearer {forged}"))


async def test_exactly_one_bearer_header_is_wanted(token) -> None:
    good = f"Bearer {token()}"

    for headers in ([], [good, good], ["Bearer "], [token()], [f"Basic {token()}"], ["Bearer x y"]):
        with pytest.raises(Unauthenticated):
            await TOKENS.identify(request(*headers))


@given(st.binary(max_size=100))
async def test_whatever_the_token_is_it_is_refused_never_a_crash(value: bytes) -> None:
    with pytest.raises(Unauthenticated):
        await TOKENS.identify(request(b"Bearer " + value))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
CLAIMS = ("iss", "aud", "sub", "tenant", "scopes", "iat", "nbf", "exp", "jti")


def signed(header: object, payload: object) -> str:
    """Return a token under the true secret, whatever header and payload are."""
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in (header, payload)
    ]
    seal = hmac.digest(SECRET, b".".join(parts), "sha256")
    return b".".join([*parts, base64.urlsafe_b64encode(seal).rstrip(b"=")]).decode()


@pytest.mark.slow
@given(
    st.dictionaries(st.sampled_from(CLAIMS), json_values, max_size=3),
    st.dictionaries(st.sampled_from(["alg", "kid", "crit", "b64", "jku", "typ"]), json_values),
)
async def test_whoever_signs_gets_an_identity_or_a_refusal_never_a_crash(
    claims: dict[str, object], header: dict[str, object]
) -> None:
    now = time.time()
    good = {
        "iss": "clawdbot",
        "aud": "clawdbot",
        "sub": "ada",
        "tenant": "default",
        "scopes": ["chat"],
        "iat": now,
        "exp": now + 60,
    }
    text = signed({"alg": "HS256", **header}, {**good, **claims})

    try:
        identity = await TOKENS.identify_token(text)
    except TokenRefused:
        return

    assert isinstance(identity, Identity)
    assert identity.scopes <= set(Scope)


@pytest.mark.parametrize("part", ["header", "claims"])
async def test_json_that_is_nested_too_deep_is_refused(part: str) -> None:
    deep = "[" * 2500 + "]" * 2500
    raw = [b'{"alg":"HS256"}', b"{}"]
    raw[part == "claims"] = b'{"alg":"HS256","x":' + deep.encode() + b"}"
    parts = [base64.urlsafe_b64encode(one).rstrip(b"=") for one in raw]
    seal = base64.urlsafe_b64encode(hmac.digest(SECRET, b".".join(parts), "sha256")).rstrip(b"=")

    with pytest.raises(TokenRefused):
        await TOKENS.identify_token(b".".join([*parts, seal]).decode())


async def test_scopes_may_be_a_text_as_oauth_has_them(token) -> None:
    identity = await TOKENS.identify_token(token(scopes="openid chat memory:read"))

    assert identity.scopes == {Scope.CHAT, Scope.MEMORY_READ}


async def test_a_foreign_issuer_has_claims_of_its_own(token) -> None:
    rules = Rules(
        issuer="https://id.example",
        audience="api",
        tenant_claim="org",
        default_tenant=Tenant("home"),
        scopes_claim="scope",
    )
    tokens = Tokens(secret_keys(SECRET), rules, NothingRevoked())
    about = {"iss": "https://id.example", "aud": ["other", "api"], "tenant": ..., "scopes": ...}

    acme = await tokens.identify_token(token(**about, org="acme", scope="chat"))
    home = await tokens.identify_token(token(**about, scope="admin"))

    assert (acme.tenant, acme.scopes) == ("acme", {Scope.CHAT})
    assert (home.tenant, home.scopes) == ("home", {Scope.ADMIN})
    for wrong in ({"org": ""}, {"org": None}, {"org": "a.b"}):
        with pytest.raises(TokenRefused):
            await tokens.identify_token(token(**about, scope="chat", **wrong))


async def test_a_connection_does_not_outlive_its_token(token) -> None:
    identity = await TOKENS.identify_token(token())
    TOKENS.recheck(identity)

    with pytest.raises(TokenRefused):
        TOKENS.recheck(replace(identity, expires_at_s=time.time() - 60))
