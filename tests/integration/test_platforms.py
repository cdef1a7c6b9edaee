"""Chat platforms through the whole stack: their webhook comes in, their API gets the reply."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.system import Loopback, System, until

TOKEN = "123456789:AAH-abcdefghijklmnopqrstuvwxyz012345"
SIGNING_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"


class API(Loopback):
    """Stands for the platforms' APIs: notes what is posted and says that all is well."""

    def __init__(self) -> None:
        super().__init__(self._post)
        self.posted: list[tuple[str, dict[str, Any]]] = []

    def _post(self, path: str, _: dict[str, str], body: bytes) -> tuple[int, Any]:
        self.posted.append((path, json.loads(body)))
        return 200, {"ok": True, "ts": "1.2", "channel": "C1", "result": {"message_id": 7}}

    def texts(self, path: str) -> list[dict[str, Any]]:
        return [body for where, body in self.posted if where.endswith(path)]


@pytest.fixture
def api() -> Iterator[API]:
    with API() as running:
        yield running


@pytest.fixture
def system_with_platforms(new_system: Callable[..., System], api: API) -> Iterator[System]:
    account = {"accounts": {"default": {"api_base": api.url, "senders": "open"}}}
    system = new_system(platforms={"telegram": account, "slack": account})
    for name, secret in (
        ("telegram_default_webhook_secret", "a-secret-token-of-ours"),
        ("telegram_default_bot_token", TOKEN),
        ("slack_default_signing_secret", SIGNING_SECRET),
        ("slack_default_bot_token", "xoxb-a-token-that-is-long-enough-1234567890"),
    ):
        (system.secrets.directory / name).write_text(secret)
    with system.running() as running:
        yield running


def test_telegram_and_slack_are_answered_once_through_their_own_api(
    system_with_platforms: System, api: API
) -> None:
    system = system_with_platforms
    update = {
        "update_id": 1,
        "message": {
            "message_id": 5,
            "date": int(time.time()),
            "chat": {"id": 42, "type": "private"},
            "from": {"id": 42, "is_bot": False, "first_name": "Ann"},
            "text": "系统信息",
        },
    }
    telegram = {"X-Telegram-Bot-Api-Secret-Token": "a-secret-token-of-ours"}
    for _ in range(3):
        answer = system.http.post("/webhooks/telegram", json=update, headers=telegram)
        assert answer.status_code == 200, answer.text
    forged = {"X-Telegram-Bot-Api-Secret-Token": "a-secret-token-of-mine"}
    assert system.http.post("/webhooks/telegram", json=update, headers=forged).status_code == 401

    body = slack_message("/sysinfo")
    for _ in range(3):
        answer = system.http.post("/webhooks/slack", content=body, headers=slack_headers(body))
        assert answer.status_code == 200, answer.text

    until(lambda: api.texts("/sendMessage") and api.texts("/chat.postMessage"), 60, "both replies")
    [said] = api.texts("/sendMessage")
    assert said["chat_id"] == 42
    assert "Linux" in said["text"]
    [written] = api.texts("/chat.postMessage")
    assert written["channel"] == "C1"
    assert "Linux" in written["text"]
    assert system.count("INBOUND") == 2
    gateway = system.find("gateway")
    assert TOKEN not in gateway.log.read_text()


def slack_message(text: str) -> bytes:
    event = {
        "type": "message",
        "channel": "C1",
        "channel_type": "im",
        "user": "U1",
        "ts": f"{time.time():.6f}",
        "text": text,
    }
    envelope = {"type": "event_callback", "event_id": "Ev1", "team_id": "T1", "event": event}
    return json.dumps(envelope).encode()


def slack_headers(body: bytes) -> dict[str, str]:
    stamp = str(int(time.time()))
    base = b"v0:" + stamp.encode() + b":" + body
    digest = hmac.new(SIGNING_SECRET.encode(), base, hashlib.sha256).hexdigest()
    return {
        "X-Slack-Request-Timestamp": stamp,
        "X-Slack-Signature": f"v0={digest}",
        "Content-Type": "application/json",
    }
