"""Which key believes which token, and every known way to have the wrong one believe it."""

from __future__ import annotations

import base64
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.adapters.jwt_auth import Tokens
from clawdbot.gateway.adapters.jwt_claims import Rules
from clawdbot.gateway.adapters.jwt_keys import KeySet, public_keys, secret_keys
from clawdbot.gateway.adapters.refusals import TokenRefused
from clawdbot.gateway.adapters.revocations import NothingRevoked
from clawdbot.schema.tokens import public_jwk, secret_key_id

RSA = rsa.generate_private_key(65537, 2048)
ED25519 = Ed25519PrivateKey.generate()
PRIVATE = {"RS256": RSA, "EdDSA": ED25519}
OLD, NEW = b"the old secret, of enough many bytes", b"the new secret, of enough many bytes"


def key_set(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"keys": entries}).encode()


def tokens(algorithm: str, keys: KeySet) -> Tokens:
    return Tokens(keys, Rules(algorithm=algorithm), NothingRevoked())


def published(algorithm: str, *entries: dict[str, Any]) -> Tokens:
    entries = entries or (public_jwk(PRIVATE[algorithm].public_key()),)
    return tokens(algorithm, public_keys(key_set(*entries), algorithm, ignores_others=False))


def claims() -> dict[str, object]:
    now = int(time.time())
    about = {"iss": "clawdbot", "aud": "clawdbot", "sub": "ada", "tenant": "t", "scopes": ["chat"]}
    return {**about, "iat": now, "exp": now + 60}


def token(algorithm: str, key: Any = None, **header: Any) -> str:
    return jwt.encode(claims(), key or PRIVATE[algorithm], algorithm=algorithm, headers=header)


def forged(header: dict[str, Any], secret: bytes | None) -> str:
    """Return a token that a careless verifier would believe; PyJWT refuses to make some."""
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in (header, claims())
    ]
    seal = b"" if secret is None else hmac.digest(secret, b".".join(parts), "sha256")
    return b".".join([*parts, base64.urlsafe_b64encode(seal).rstrip(b"=")]).decode()


@pytest.mark.parametrize("algorithm", ["RS256", "EdDSA"])
async def test_a_public_key_believes_its_private_half_alone(algorithm: str) -> None:
    believer = published(algorithm)
    key_id = public_jwk(PRIVATE[algorithm].public_key())["kid"]
    other = {
        "RS256": rsa.generate_private_key(65537, 2048),
        "EdDSA": Ed25519PrivateKey.generate(),
    }[algorithm]

    assert (await believer.identify_token(token(algorithm))).subject == "ada"
    assert (await believer.identify_token(token(algorithm, kid=key_id))).subject == "ada"
    for wrong in (token(algorithm, other), token(algorithm, other, kid=key_id)):
        with pytest.raises(TokenRefused):
            await believer.identify_token(wrong)


@pytest.mark.parametrize("algorithm", ["RS256", "EdDSA", "HS256"])
@pytest.mark.parametrize("said", ["none", "nOnE", "None", "", "HS256", "RS256", "EdDSA", "ES256"])
async def test_what_a_token_says_of_its_algorithm_chooses_nothing(
    algorithm: str, said: str
) -> None:
    public = PRIVATE.get(algorithm, RSA).public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    raw = key_set(public_jwk(public))
    keys = (
        secret_keys(OLD)
        if algorithm == "HS256"
        else public_keys(raw, algorithm, ignores_others=False)
    )

    for secret in (None, b"", pem, pem.strip(), raw, b"a guess"):
        for header in ({"alg": said}, {"alg": said, "typ": "JWT", "kid": None}):
            with pytest.raises(TokenRefused):
                await tokens(algorithm, keys).identify_token(forged(header, secret))


async def test_a_key_that_the_token_brings_along_is_not_looked_at() -> None:
    other = Ed25519PrivateKey.generate()
    jwk = public_jwk(other.public_key())
    brought = {
        "jwk": jwk,
        "jku": "http://127.0.0.1:9/keys",
        "x5u": "http://127.0.0.1:9/certificate",
    }

    with pytest.raises(TokenRefused):
        await published("EdDSA").identify_token(token("EdDSA", other, **brought, kid=jwk["kid"]))


async def test_a_critical_header_that_we_do_not_know_is_refused() -> None:
    with pytest.raises(TokenRefused):
        await published("EdDSA").identify_token(token("EdDSA", crit=["exp"]))


async def test_keys_overlap_while_one_takes_over_from_the_other() -> None:
    both = tokens("HS256", secret_keys(NEW + b"\n" + OLD + b"\n"))
    after = tokens("HS256", secret_keys(NEW))
    old = token("HS256", OLD, kid=secret_key_id(OLD))
    new = token("HS256", NEW, kid=secret_key_id(NEW))

    assert (await both.identify_token(old)).subject == (await both.identify_token(new)).subject
    assert (await after.identify_token(new)).subject == "ada"
    with pytest.raises(TokenRefused):
        await after.identify_token(old)


async def test_a_kid_is_demanded_among_several_and_must_fit() -> None:
    both = tokens("HS256", secret_keys(NEW + b"\n" + OLD))

    for wrong in (
        token("HS256", NEW),
        token("HS256", NEW, kid="unheard-of"),
        token("HS256", OLD, kid=secret_key_id(NEW)),
    ):
        with pytest.raises(TokenRefused):
            await both.identify_token(wrong)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"short", "32 bytes"),
        (b"", "32 bytes"),
        (NEW + b"\nshort", "32 bytes"),
        (NEW + b"\n" + NEW, "two lines"),
        (b"-----BEGIN PUBLIC KEY-----\n" + b"x" * 64, "PEM"),
    ],
)
def test_a_secret_that_is_none_is_refused_at_the_start(value: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        secret_keys(value)


def test_secrets_are_in_no_repr() -> None:
    assert "old" not in repr(secret_keys(OLD))


def weak() -> dict[str, str]:
    numbers = rsa.generate_private_key(65537, 1024).public_key().public_numbers()
    n = base64.urlsafe_b64encode(numbers.n.to_bytes(128, "big")).rstrip(b"=").decode()
    return {"kty": "RSA", "n": n, "e": "AQAB", "kid": "weak"}


def curve() -> dict[str, Any]:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    found: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(key, as_dict=True)
    return found


def ed448_key() -> dict[str, Any]:
    key = ed448.Ed448PrivateKey.generate().public_key()
    found: dict[str, Any] = jwt.algorithms.OKPAlgorithm.to_jwk(key, as_dict=True)
    return found


GOOD = public_jwk(RSA.public_key())
BAD: list[Any] = [
    weak(),
    curve(),
    ed448_key(),
    public_jwk(ED25519.public_key()),
    {"kty": "oct", "k": base64.urlsafe_b64encode(NEW).decode()},
    {**GOOD, "use": "enc"},
    {**GOOD, "alg": "RS512"},
    {**GOOD, "alg": ["RS256"]},
    {**GOOD, "key_ops": ["encrypt"]},
    {**GOOD, "key_ops": 7},
    {**GOOD, "kid": ""},
    {**GOOD, "kid": 7},
    {**GOOD, "n": 7},
    {**GOOD, "n": "A"},
    {**GOOD, "e": "AA"},
    {"kty": "RSA"},
    "text",
    None,
]


@pytest.mark.parametrize("entry", BAD)
def test_a_key_of_another_kind_is_refused_in_our_file_and_passed_over_at_a_provider(
    entry: Any,
) -> None:
    with pytest.raises(ValueError, match="cannot be used"):
        public_keys(key_set(entry), "RS256", ignores_others=False)

    found = public_keys(key_set(entry, GOOD), "RS256", ignores_others=True)

    assert list(found.keys) == [GOOD["kid"]]


def test_of_a_private_key_in_a_set_the_public_half_alone_is_used() -> None:
    private: dict[str, Any] = jwt.algorithms.RSAAlgorithm.to_jwk(RSA, as_dict=True)

    found = public_keys(key_set({**private, "key_ops": ["verify"]}), "RS256", ignores_others=False)

    assert isinstance(found.get(None), rsa.RSAPublicKey)


@pytest.mark.parametrize(
    "entries", [[], [GOOD, GOOD], [GOOD, {**public_jwk(RSA.public_key()), "kid": None}]]
)
def test_a_set_whose_keys_cannot_be_told_apart_is_refused(entries: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match=r"kid|no key|two keys"):
        public_keys(key_set(*entries), "RS256", ignores_others=False)


@given(st.binary(max_size=200) | st.just(b"[" * 100_000) | st.just(b'{"keys": {"a": 1}}'))
def test_whatever_a_provider_answers_is_a_set_or_a_refusal(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON|set|key"):
        public_keys(raw, "EdDSA", ignores_others=True)
