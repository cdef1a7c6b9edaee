from __future__ import annotations

import base64
import json
import time

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from clawdbot.gateway.adapters.jwt_auth import Tokens
from clawdbot.schema.errors import Unauthenticated
from clawdbot.schema.principal import Scope

SECRET = b"a secret of at least thirty-two bytes"
TOKENS = Tokens(SECRET)


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
        {"scopes": "chat"},
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


def test_a_short_secret_is_no_key() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Tokens(b"short")
