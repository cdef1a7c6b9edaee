"""LINE, WhatsApp, GitHub and Twilio through the whole stack, each signed as its platform does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest

from clawdbot.gateway.adapters.platforms.requests import RawRequest
from services.gateway.tests.platforms import github, line, twilio, whatsapp
from services.gateway.tests.platforms.samples import PUBLIC_URL, Samples
from tests.integration.system import Loopback, System, until

QUESTION = "系统信息"
"""Is answered by an instruction, without a model."""


def asked(name: str) -> bytes:
    return {
        "line": lambda: line.body(
            line.event(message=line.text(QUESTION), timestamp=int(time.time() * 1000))
        ),
        "whatsapp": lambda: whatsapp.one(text={"body": QUESTION}),
        "github": lambda: github.event(comment=github.comment(f"@claw-bot {QUESTION}")),
        "twilio": lambda: twilio.form(Body=QUESTION),
    }[name]()


PATHS = {
    "line": "/v2/bot/message/reply",
    "whatsapp": f"/{whatsapp.NUMBER}/messages",
    "github": "/repos/octo-org/claw.py/issues/7/comments",
    "twilio": f"/2010-04-01/Accounts/{twilio.ACCOUNT}/Messages.json",
}


class API(Loopback):
    """Stands for the platforms' APIs: notes what is posted and says that all is well."""

    def __init__(self) -> None:
        super().__init__(self._post)
        self.posted: list[tuple[str, str]] = []

    def _post(self, path: str, _: dict[str, str], body: bytes) -> tuple[int, Any]:
        self.posted.append((path, body.decode()))
        return 200, {"id": 1, "sid": "SM1", "sentMessages": [{"id": "1"}]}

    def texts(self, name: str) -> list[str]:
        return [_text(name, body) for path, body in self.posted if path == PATHS[name]]


def _text(name: str, body: str) -> str:
    if name == "twilio":
        return dict(parse_qsl(body))["Body"]
    told = json.loads(body)
    if name == "line":
        return str(told["messages"][0]["text"])
    # Showing that we write goes the same way as a message.
    return str(told["body"] if name == "github" else told.get("text", {}).get("body", ""))


@pytest.fixture
def api() -> Iterator[API]:
    with API() as running:
        yield running


@pytest.fixture
def system(new_system: Callable[..., System], api: API) -> Iterator[System]:
    samples = {name: _samples(name) for name in PATHS}
    platforms = {
        name: {"accounts": {"default": {**one.settings, "api_base": api.url, "senders": "open"}}}
        for name, one in samples.items()
    }
    system = new_system(platforms=platforms, app={"public_url": PUBLIC_URL})
    for name, one in samples.items():
        for what, value in one.secrets.items():
            (system.secrets.directory / f"{name}_default_{what}").write_bytes(value)
    with system.running() as running:
        yield running


def _samples(name: str) -> Samples:
    found = import_module(f"services.gateway.tests.platforms.{name}").SAMPLES
    assert isinstance(found, Samples)
    return found


def _post(system: System, raw: RawRequest) -> httpx.Response:
    path = raw.url.removeprefix(PUBLIC_URL)
    return system.http.request(raw.method, path, content=raw.body, headers=list(raw.headers))


def test_each_is_answered_once_through_its_own_api(system: System, api: API) -> None:
    challenge = _post(system, whatsapp.question())
    assert (challenge.status_code, challenge.text) == (200, "1158201444")

    for name in PATHS:
        raw = _samples(name).request(asked(name), time.time())
        forged = replace(raw, body=raw.body.replace(b"0", b"1"))
        assert _post(system, forged).status_code == 401
        for _ in range(3):
            answer = _post(system, raw)
            assert answer.status_code == 200, f"{name}: {answer.text}"

    for name in PATHS:
        until(lambda name=name: any("Linux" in text for text in api.texts(name)), 60, name)
    for name in PATHS:
        assert [text for text in api.texts(name) if text] == [api.texts(name)[-1]]
    assert system.count("INBOUND") == len(PATHS)
    log = system.find("gateway").log.read_text()
    secrets = [value.decode() for name in PATHS for value in _samples(name).secrets.values()]
    assert not any(secret in log for secret in secrets)
