"""Keys of an identity provider that rotates, is slow, is away, or answers nonsense."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clawdbot.gateway.adapters.jwks import MAX_BYTES, REFETCH_AFTER_S, PublishedKeys
from clawdbot.gateway.adapters.jwt_auth import Tokens
from clawdbot.gateway.adapters.jwt_claims import Rules
from clawdbot.gateway.adapters.refusals import TokenRefused
from clawdbot.gateway.adapters.revocations import NothingRevoked
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.tokens import public_jwk

FIRST, SECOND = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


class Provider:
    """An identity provider on the loopback address, and a clock that stands still."""

    def __init__(self) -> None:
        self.status = "200 OK"
        self.headers = ""
        self.asked = 0
        self.now = 1000.0
        self.answers = asyncio.Event()
        self.answers.set()
        self.url = ""
        self.publish(FIRST)

    def publish(self, *keys: Ed25519PrivateKey) -> None:
        self.body = json.dumps({"keys": [public_jwk(key.public_key()) for key in keys]}).encode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        with suppress(ConnectionError):
            await self.answers.wait()
            head = f"HTTP/1.1 {self.status}\r\nConnection: close\r\n{self.headers}\r\n"
            writer.write(head.encode() + self.body)
            await writer.drain()
        writer.close()


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[Provider]:
    running = Provider()
    async with await asyncio.start_server(running.serve, "127.0.0.1", 0) as server:
        running.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"
        yield running
        running.answers.set()


@pytest_asyncio.fixture
async def keys(provider: Provider) -> AsyncIterator[PublishedKeys]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield PublishedKeys(client, provider.url, "EdDSA", timeout_s=1.0, now=lambda: provider.now)


def token(key: Ed25519PrivateKey) -> str:
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": "clawdbot",
        "aud": "clawdbot",
        "sub": "ada",
        "tenant": "t",
        "scopes": ["chat"],
        "iat": now,
        "exp": now + 60,
    }
    key_id = public_jwk(key.public_key())["kid"]
    return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": key_id})


def believer(keys: PublishedKeys) -> Tokens:
    return Tokens(keys, Rules(algorithm="EdDSA"), NothingRevoked())


async def test_before_the_first_keys_nobody_is_believed_and_nobody_called_a_liar(
    provider: Provider, keys: PublishedKeys
) -> None:
    provider.status = "503 Busy"
    await keys.fetch()

    with pytest.raises(Unavailable):
        await believer(keys).identify_token(token(FIRST))
    assert "status 503" in (keys.missing() or "")

    provider.status = "200 OK"
    await keys.fetch()
    assert (await believer(keys).identify_token(token(FIRST))).subject == "ada"
    assert keys.missing() is None


async def test_a_new_key_is_found_when_its_first_token_comes(
    provider: Provider, keys: PublishedKeys
) -> None:
    await keys.fetch()
    provider.publish(FIRST, SECOND)
    provider.now += REFETCH_AFTER_S

    found = await asyncio.gather(*(believer(keys).identify_token(token(SECOND)) for _ in range(20)))

    assert {identity.subject for identity in found} == {"ada"}
    assert provider.asked == 2


async def test_unknown_keys_have_the_provider_asked_once_a_minute(
    provider: Provider, keys: PublishedKeys
) -> None:
    await keys.fetch()
    for minute in range(1, 4):
        provider.now += REFETCH_AFTER_S
        for _ in range(20):
            with pytest.raises(TokenRefused):
                await believer(keys).identify_token(token(Ed25519PrivateKey.generate()))
        assert provider.asked == 1 + minute


async def test_a_key_that_was_withdrawn_is_not_believed_after_the_next_fetch(
    provider: Provider, keys: PublishedKeys
) -> None:
    await keys.fetch()
    provider.publish(SECOND)
    await keys.fetch()

    with pytest.raises(TokenRefused):
        await believer(keys).identify_token(token(FIRST))


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        ("500 Broken", "", b""),
        ("404 Not Found", "", b"{}"),
        ("302 Found", "Location: /elsewhere\r\n", b""),
        ("200 OK", "", b"x" * (MAX_BYTES + 1)),
        ("200 OK", "", b"{}"),
        ("200 OK", "", b'{"keys": []}'),
        ("200 OK", "Content-Encoding: gzip\r\n", b"\x1f\x8b nonsense"),
    ],
)
async def test_the_last_good_keys_are_kept_while_the_provider_gives_none(
    provider: Provider, keys: PublishedKeys, status: str, headers: str, body: bytes
) -> None:
    await keys.fetch()
    provider.status, provider.headers, provider.body = status, headers, body

    await keys.fetch()

    assert keys.missing() is None
    assert keys.failing() is not None
    assert (await believer(keys).identify_token(token(FIRST))).subject == "ada"


async def test_a_provider_that_does_not_answer_holds_up_only_who_brings_an_unknown_key(
    provider: Provider, keys: PublishedKeys
) -> None:
    await keys.fetch()
    provider.answers.clear()
    provider.now += REFETCH_AFTER_S

    unknown = asyncio.create_task(believer(keys).identify_token(token(SECOND)))
    while provider.asked < 2:
        await asyncio.sleep(0)
    known = await believer(keys).identify_token(token(FIRST))

    assert known.subject == "ada"
    with pytest.raises(TokenRefused):
        await unknown
    assert keys.failing() is not None


async def test_a_token_that_could_not_be_ours_has_nothing_fetched(
    provider: Provider, keys: PublishedKeys
) -> None:
    await keys.fetch()
    provider.now += REFETCH_AFTER_S
    other = jwt.encode({}, "a secret of at least thirty-two bytes", headers={"kid": "unknown"})

    for wrong in (other, "a.b.c", "", token(SECOND) + "=" * 9000):
        with pytest.raises(TokenRefused):
            await believer(keys).identify_token(wrong)

    assert provider.asked == 1
