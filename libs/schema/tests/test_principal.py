"""Who is talking: signed by the gateway, believed by nobody else's signature."""

from __future__ import annotations

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from clawdbot.schema.errors import Forbidden, Unauthenticated
from clawdbot.schema.ids import Channel, ConversationId, Tenant
from clawdbot.schema.principal import (
    AUDIENCE,
    ISSUER,
    REUSE_S,
    Principal,
    PrincipalSigner,
    PrincipalVerifier,
    Scope,
)

ALICE = Principal(
    tenant=Tenant("acme"),
    user="alice",
    scopes=frozenset({Scope.CHAT, Scope.MEMORY_READ}),
    conversation_id=ConversationId("c"),
    channel=Channel("webhook"),
)


def keys() -> tuple[bytes, bytes]:
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), public


PRIVATE, PUBLIC = keys()


def test_a_signed_principal_is_believed() -> None:
    token = PrincipalSigner(PRIVATE).sign(ALICE)

    assert PrincipalVerifier(PUBLIC).verify(token) == ALICE


def test_who_writes_often_is_signed_for_once_and_everybody_for_themselves() -> None:
    signer, verifier = PrincipalSigner(PRIVATE), PrincipalVerifier(PUBLIC)
    bob = ALICE.model_copy(update={"user": "bob"})
    elsewhere = ALICE.model_copy(update={"conversation_id": ConversationId("d")})

    tokens = [signer.sign(ALICE), signer.sign(ALICE), signer.sign(bob), signer.sign(elsewhere)]

    assert tokens[0] == tokens[1]
    assert [verifier.verify(token) for token in tokens] == [ALICE, ALICE, bob, elsewhere]


def test_a_token_that_is_given_out_again_still_lasts_as_long_as_a_message_may_wait() -> None:
    claims = jwt.decode(
        PrincipalSigner(PRIVATE, ttl_s=100).sign(ALICE), options={"verify_signature": False}
    )

    assert claims["exp"] - claims["iat"] == 100 + REUSE_S


def test_a_principal_signed_by_somebody_else_is_not_believed() -> None:
    other, _ = keys()

    with pytest.raises(Unauthenticated):
        PrincipalVerifier(PUBLIC).verify(PrincipalSigner(other).sign(ALICE))


def test_an_expired_principal_is_not_believed() -> None:
    token = PrincipalSigner(PRIVATE, ttl_s=-120).sign(ALICE)

    with pytest.raises(Unauthenticated):
        PrincipalVerifier(PUBLIC).verify(token)


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "é" * 10])
def test_what_is_no_token_is_not_believed(token: str) -> None:
    with pytest.raises(Unauthenticated):
        PrincipalVerifier(PUBLIC).verify(token)


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_the_sender_does_not_choose_the_algorithm(algorithm: str) -> None:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "mallory", "iat": 0, "exp": 2**40}
    secret = "a public key is no shared secret" if algorithm == "HS256" else None
    token = jwt.encode(claims, secret, algorithm=algorithm)

    with pytest.raises(Unauthenticated):
        PrincipalVerifier(PUBLIC).verify(token)


def test_a_missing_scope_is_named() -> None:
    ALICE.require(Scope.CHAT)

    with pytest.raises(Forbidden, match="approve"):
        ALICE.require(Scope.APPROVE)
