"""A stranger on Telegram, the operator at a terminal, and the assistant between them."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.system import Loopback, System, until

TOKEN = "123456789:AAH-abcdefghijklmnopqrstuvwxyz012345"
HEADERS = {"X-Telegram-Bot-Api-Secret-Token": "a-secret-token-of-ours"}


class Telegram(Loopback):
    """The Bot API and one person who writes to the bot."""

    def __init__(self) -> None:
        super().__init__(self._post)
        self.said: list[str] = []
        self._ids = itertools.count(1)

    def _post(self, path: str, _: dict[str, str], body: bytes) -> tuple[int, Any]:
        if path.endswith("/sendMessage"):
            self.said.append(json.loads(body)["text"])
        return 200, {"ok": True, "result": {"message_id": 7}}

    def write(self, system: System, text: str, chat: dict[str, Any] | None = None) -> None:
        number = next(self._ids)
        message = {
            "message_id": number,
            "date": int(time.time()),
            "chat": chat or {"id": 42, "type": "private"},
            "from": {"id": 42, "is_bot": False, "first_name": "Ann"},
            "text": text,
        }
        update = {"update_id": number, "message": message}
        answer = system.http.post("/webhooks/telegram", json=update, headers=HEADERS)
        assert answer.status_code == 200, answer.text

    def hears(self, count: int) -> str:
        """Return the last of `count` replies once there are as many."""
        until(lambda: len(self.said) >= count, 60, f"reply {count}")
        assert len(self.said) == count
        return self.said[-1]


@pytest.fixture
def telegram() -> Iterator[Telegram]:
    with Telegram() as running:
        yield running


@pytest.fixture
def paired(new_system: Callable[..., System], telegram: Telegram) -> Iterator[System]:
    account = {"api_base": telegram.url, "identity_links": True}
    system = new_system(
        platforms={"telegram": {"accounts": {"default": account}}},
        gateway={"identity_links": True},
    )
    (system.secrets.directory / "telegram_default_webhook_secret").write_text(
        HEADERS["X-Telegram-Bot-Api-Secret-Token"]
    )
    (system.secrets.directory / "telegram_default_bot_token").write_text(TOKEN)
    with system.running() as running:
        yield running


def senders(system: System, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CLAWDBOT_CONFIG": str(system.directory / "config.yaml")}
    return subprocess.run(
        [sys.executable, "-m", "clawdbot.cli.main", "senders", *arguments],
        cwd=system.directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_stranger_is_paired_by_the_operator_and_removed_again(
    paired: System, telegram: Telegram
) -> None:
    telegram.write(paired, "系统信息", chat={"id": -5, "type": "group"})
    telegram.write(paired, "系统信息")
    told = telegram.hears(1)
    code = re.search(r"senders approve ([A-Z2-9]{8})", told)
    assert code is not None, told
    assert "尚未配对" in told
    assert paired.count("INBOUND") == 1
    assert paired.count("TURNS") == 0

    listed = senders(paired, "list")
    assert code[1] in listed.stdout, listed.stderr
    assert "telegram:42" in listed.stdout
    assert "系统信息" not in listed.stdout
    assert senders(paired, "approve", code[1].lower()).stdout == "let in: telegram:42\n"
    again = senders(paired, "approve", code[1])
    assert again.returncode == 1
    assert "nobody waits with this code" in again.stderr

    telegram.write(paired, "系统信息")
    assert "Linux" in telegram.hears(2)

    assert senders(paired, "remove", "telegram:42").returncode == 0
    telegram.write(paired, "hello again")
    assert "senders approve" in telegram.hears(3)


def test_linked_senders_have_one_memory(paired: System, telegram: Telegram) -> None:
    telegram.write(paired, "hello")
    code = telegram.hears(1).rsplit(maxsplit=1)[-1]
    assert senders(paired, "approve", code).returncode == 0
    linked = senders(paired, "link", "api:owner", "telegram:42")
    assert linked.returncode == 0, linked.stderr

    telegram.write(paired, "My cat is called Minka.")
    telegram.hears(2)
    answer = paired.http.post(
        "/api/chat",
        json={"content": "What is my cat called?"},
        headers={"Authorization": f"Bearer {paired.token('owner')}"},
    )
    assert answer.status_code == 200, answer.text
    recalled = answer.json()["metadata"]["recalled"]
    assert any("Minka" in memory["content"] for memory in recalled)

    assert senders(paired, "unlink", "telegram:42").returncode == 0
    telegram.write(paired, "What is my cat called?")
    telegram.hears(3)
    assert "as api:owner" not in senders(paired, "list").stdout
