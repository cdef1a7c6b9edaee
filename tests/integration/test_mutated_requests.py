"""Hostile and damaged requests to every way in: never our failure, never a word that nobody said.

Three kinds: something is wrong with an authentic request; the right sender says something absurd
and signs it; an authentic request comes too late. A failure names its seed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt
import pytest

from clawdbot.gateway.adapters.platforms.connections import Connection
from clawdbot.gateway.adapters.platforms.registry import names
from clawdbot.gateway.adapters.platforms.requests import RawRequest
from services.gateway.tests.conftest import JWT_SECRET, WEBHOOK_SECRET, Door
from services.gateway.tests.mutations import EVERYWHERE, OUTSIDE, Call, bytes_changed
from services.gateway.tests.platforms.samples import NOW, Samples, account_of, adapter_of

SHORT, WHOLE = 20_000, 1_000_000
SEED = 20_261_122
LASTING_S = 86_400
SENDER, WORDS = "user123", "hello"
WAITING = ("chat", "openai")


@dataclass(frozen=True)
class Target:
    """One way in, and what its authentic request says."""

    name: str
    call: Call
    sign: Callable[[bytes], Call]
    channel: str
    signs_body: bool
    sender_id: str
    content: str


def call_of(raw: RawRequest) -> Call:
    parts = urlsplit(raw.url)
    return Call(raw.method, parts.path, parts.query.encode(), tuple(raw.headers), raw.body)


def signed_parts(call: Call) -> tuple[object, ...]:
    return call.query, call.headers


def platform_target(samples: Samples) -> Target:
    def sign(body: bytes) -> Call:
        return call_of(samples.request(body, NOW))

    call = sign(samples.message)
    return Target(
        name=samples.platform,
        call=call,
        sign=sign,
        channel=samples.platform,
        signs_body=signed_parts(sign(samples.message + b" ")) != signed_parts(call),
        sender_id=samples.sender_id,
        content=samples.content,
    )


def webhook_target() -> Target:
    def sign(body: bytes) -> Call:
        signature = hmac.new(WEBHOOK_SECRET, body, hashlib.sha256).hexdigest().encode()
        return Call("POST", "/api/messages", b"", ((b"x-signature", signature),), body)

    said = {"sender_id": SENDER, "content": WORDS, "timestamp": 1672531200}
    call = sign(json.dumps(said).encode())
    return Target("webhook", call, sign, "webhook", True, SENDER, WORDS)


def api_target(name: str, path: str, said: dict[str, object]) -> Target:
    claims = {"iss": "clawdbot", "aud": "clawdbot", "sub": SENDER, "tenant": "default"}
    at = int(time.time())
    times = {"iat": at, "exp": at + LASTING_S}
    token = jwt.encode({**claims, **times, "scopes": ["chat"]}, JWT_SECRET)
    headers = ((b"authorization", f"Bearer {token}".encode()),)

    def sign(body: bytes) -> Call:
        return Call("POST", path, b"", headers, body)

    call = sign(json.dumps(said).encode())
    return Target(name, call, sign, "api", False, SENDER, WORDS)


def chat_target() -> Target:
    return api_target("chat", "/api/chat", {"content": WORDS, "message_id": "1"})


def openai_target() -> Target:
    said = {"model": "clawdbot", "messages": [{"role": "user", "content": WORDS}]}
    return api_target("openai", "/v1/chat/completions", said)


class Fortress:
    """The whole application with an account of every platform, and its targets."""

    def __init__(self, directory: Path) -> None:
        self.door = Door()
        self.door.clock = lambda: NOW
        self.door.patience = replace(self.door.patience, chat_s=0.001, tick_s=0.001)
        self.targets = [webhook_target(), chat_target(), openai_target()]
        self.samples = [
            import_module(f"services.gateway.tests.platforms.{name}").SAMPLES for name in names()
        ]
        for samples in self.samples:
            account = account_of(samples, directory)
            client = httpx.AsyncClient(transport=httpx.MockTransport(keys_alone(samples)))
            adapter = adapter_of(samples, directory, client)
            self.door.connections.append(Connection(account, adapter))
            self.targets.append(platform_target(samples))
        self._app = self.door.app()

    async def ask(self, call: Call) -> int:
        """Return the status; what is kept is in `door.inbox` and nothing older."""
        self.door.inbox.kept.clear()
        return await status_of(self._app, call)

    def expect_nothing_but(self, words: set[tuple[str, str, str]]) -> None:
        """Pass when what was kept says what an authentic request said, by its own way in."""
        kept = self.door.inbox.kept.values()
        assert {(one.channel, one.sender_id, one.content) for one in kept} <= words


async def status_of(app: Any, call: Call) -> int:
    """Ask as a server would whose parser let the request pass."""
    messages = [{"type": "http.request", "body": call.body, "more_body": False}]
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": call.method,
        "scheme": "http",
        "path": call.path,
        "raw_path": call.path.encode("utf-8", "replace"),
        "query_string": call.query,
        "headers": list(call.headers),
        "client": ("192.0.2.1", 4711),
        "server": ("127.0.0.1", 8000),
    }
    await app(scope, receive, send)
    return statuses[0]


@pytest.fixture
def fortress(tmp_path: Path) -> Fortress:
    return Fortress(tmp_path)


def keys_alone(samples: Samples) -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        if str(request.url) != samples.keys_url:
            raise AssertionError("a request alone must not make us call anybody")
        return samples.api(request)

    return answer


@contextmanager
def naming(number: int, target: Target, call: Call) -> Iterator[None]:
    try:
        yield
    except Exception as exc:
        exc.add_note(f"seed {SEED + number}, {target.name}: {call!r}")
        raise


async def damaged(fortress: Fortress, count: int) -> None:
    authentic = {(one.channel, one.sender_id, one.content) for one in fortress.targets}
    calls = [target.call for target in fortress.targets]
    for number in range(count):
        chance = random.Random(SEED + number)
        target = chance.choice(fortress.targets)
        call = target.call
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            mutation = chance.choice(EVERYWHERE if target.signs_body else OUTSIDE)
            call = mutation(call, chance, calls)
        with naming(number, target, call):
            status = await fortress.ask(call)
            # A chat whose answer never comes is 504, which is no failure of the door.
            assert status < 500 or (status == 504 and target.name in WAITING)
            fortress.expect_nothing_but(authentic)


async def absurd(fortress: Fortress, count: int) -> None:
    for number in range(count):
        chance = random.Random(SEED + number)
        target = chance.choice(fortress.targets)
        body = target.call.body
        for _ in range(chance.choice((1, 1, 2, 4))):
            body = bytes_changed(body, chance)
        call = target.sign(body)
        with naming(number, target, call):
            status = await fortress.ask(call)
            assert status < 500 or (status == 504 and target.name in WAITING)
            assert all(one.channel == target.channel for one in fortress.door.inbox.kept.values())


async def test_damaged_requests_never_fail_and_publish_nothing(fortress: Fortress) -> None:
    await damaged(fortress, SHORT // 2)


async def test_absurd_but_authentic_requests_never_fail(fortress: Fortress) -> None:
    await absurd(fortress, SHORT // 2)


async def test_authentic_requests_pass_and_late_ones_do_not(fortress: Fortress) -> None:
    for target in fortress.targets:
        assert await fortress.ask(target.call) < 500
        (kept,) = fortress.door.inbox.kept.values()
        assert (kept.sender_id, kept.content) == (target.sender_id, target.content)

    for samples in fortress.samples:
        for away_s in (-3.0, -1.01, 1.01, 3.0) if samples.window_s else ():
            late = samples.request(samples.message, NOW + away_s * samples.window_s)
            assert await fortress.ask(call_of(late)) == 401
            assert not fortress.door.inbox.kept


@pytest.mark.proof
@pytest.mark.timeout(3600)
async def test_a_million_requests(fortress: Fortress) -> None:
    await damaged(fortress, WHOLE // 2)
    await absurd(fortress, WHOLE // 2)
