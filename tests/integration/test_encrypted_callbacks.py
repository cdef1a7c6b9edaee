"""WeCom, WeChat and DingTalk through the whole stack: asked by GET, answered by their API."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from clawdbot.gateway.adapters.platforms.requests import RawRequest
from services.gateway.tests.platforms import dingtalk, wechat, wecom
from services.gateway.tests.platforms.samples import Samples
from tests.integration.system import Loopback, System, until

PLATFORMS: tuple[Samples, ...] = (wecom.SAMPLES, wechat.SAMPLES, dingtalk.SAMPLES)
COMMAND = "/sysinfo"


class APIs(Loopback):
    """Stands for the three platforms' APIs: as their doubles, and notes what it is asked."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.calls: list[httpx.Request] = []

    def _answer(self, path: str, _: dict[str, str], body: bytes) -> tuple[int, Any]:
        call = httpx.Request("POST", f"http://api.example{path}", content=body)
        self.calls.append(call)
        double = next(
            samples.api
            for prefix, samples in (
                ("/cgi-bin/gettoken", wecom.SAMPLES),
                ("/cgi-bin/message/send", wecom.SAMPLES),
                ("/cgi-bin/", wechat.SAMPLES),
                ("/", dingtalk.SAMPLES),
            )
            if path.startswith(prefix)
        )
        answer = double(call)
        return answer.status_code, answer.json()

    def replies(self, samples: Samples) -> list[str]:
        told = [f"{call.url} {call.content.decode()}" for call in self.calls]
        return [text for text in told if samples.destination in text and "Linux" in text]


@pytest.fixture
def apis() -> Iterator[APIs]:
    with APIs() as running:
        yield running


@pytest.fixture
def system_with_platforms(new_system: Callable[..., System], apis: APIs) -> Iterator[System]:
    bases: dict[str, dict[str, str]] = {"dingtalk": {"session_base": apis.url}}
    system = new_system(
        platforms={
            samples.platform: {
                "accounts": {
                    "default": {
                        **samples.settings,
                        "senders": "open",
                        "api_base": apis.url,
                        **bases.get(samples.platform, {}),
                    }
                }
            }
            for samples in PLATFORMS
        }
    )
    for samples in PLATFORMS:
        for what, value in samples.secrets.items():
            (system.secrets.directory / f"{samples.platform}_default_{what}").write_bytes(value)
    with system.running() as running:
        yield running


def asked(system: System, raw: RawRequest) -> httpx.Response:
    parts = urlsplit(raw.url)
    headers = [(name.decode(), value.decode()) for name, value in raw.headers]
    path = f"{parts.path}?{parts.query}"
    return system.http.request(raw.method, path, content=raw.body, headers=headers)


def test_each_is_asked_and_answered_once_through_its_own_api(
    system_with_platforms: System, apis: APIs
) -> None:
    system, now = system_with_platforms, time.time()
    session = f"{apis.url}/robot/sendBySession?session={dingtalk.SESSION}"
    said = {
        "wecom": wecom.message(Content=COMMAND),
        "wechat": wechat.message(Content=COMMAND),
        "dingtalk": dingtalk.message(text={"content": f" {COMMAND}"}, sessionWebhook=session),
    }
    for samples in PLATFORMS:
        for request, _ in samples.handshakes:
            answer = asked(system, request(now))
            assert (answer.status_code, bool(answer.content)) == (200, True), answer.text
        for _ in range(3):
            answer = asked(system, samples.request(said[samples.platform], now))
            assert (answer.status_code, answer.content) == (200, samples.ack.body), answer.text
        stale = samples.request(said[samples.platform], now - 7200)
        assert asked(system, stale).status_code == 401

    until(lambda: all(apis.replies(samples) for samples in PLATFORMS), 60, "all replies")
    assert [len(apis.replies(samples)) for samples in PLATFORMS] == [1, 1, 1]
    assert system.count("INBOUND") == 3
    told = system.find("gateway").log.read_text()
    secrets = [value.decode() for samples in PLATFORMS for value in samples.secrets.values()]
    tokens = [wecom.ACCESS_TOKEN, wechat.ACCESS_TOKEN, dingtalk.ACCESS_TOKEN, dingtalk.SESSION]
    assert not any(secret in told for secret in [*secrets, *tokens])
