"""Files that come with messages, through all services: read where that is right, else refused."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.system import Loopback, System, until

TOKEN = "123456789:AAH-abcdefghijklmnopqrstuvwxyz012345"
SECRET = "a-secret-token-of-ours"
TEXT = "The cat of the house is called Mimi. " * 40


class Telegram(Loopback):
    """The Bot API and its files."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.asked: list[str] = []
        self.said: list[str] = []

    def _answer(self, path: str, _: dict[str, str], body: bytes) -> tuple[int, Any]:
        self.asked.append(path)
        if path.endswith("/getFile"):
            return 200, {"ok": True, "result": {"file_path": "documents/file_1.txt"}}
        if path.startswith("/file/"):
            return 200, TEXT.encode()
        if path.endswith("/sendMessage"):
            self.said.append(json.loads(body)["text"])
        return 200, {"ok": True, "result": {"message_id": 7}}


@pytest.fixture
def telegram() -> Iterator[Telegram]:
    with Telegram() as running:
        yield running


@pytest.fixture
def system(new_system: Callable[..., System], telegram: Telegram) -> Iterator[System]:
    account = {"accounts": {"default": {"api_base": telegram.url, "senders": "open"}}}
    system = new_system(platforms={"telegram": account})
    for name, secret in (("webhook_secret", SECRET), ("bot_token", TOKEN)):
        (system.secrets.directory / f"telegram_default_{name}").write_text(secret)
    with system.running() as running:
        yield running


def test_a_document_is_fetched_with_the_bots_token_and_read(
    system: System, telegram: Telegram
) -> None:
    update = {
        "update_id": 1,
        "message": {
            "message_id": 5,
            "date": int(time.time()),
            "chat": {"id": 42, "type": "private"},
            "from": {"id": 42, "is_bot": False, "first_name": "Ann"},
            "caption": "What is the cat called?",
            "document": {"file_id": "BQACAg", "file_name": "a.txt", "mime_type": "text/plain"},
        },
    }
    headers = {"X-Telegram-Bot-Api-Secret-Token": SECRET}

    assert system.http.post("/webhooks/telegram", json=update, headers=headers).is_success

    until(lambda: telegram.said, 60, "the reply")
    assert f"/file/bot{TOKEN}/documents/file_1.txt" in telegram.asked
    for service in ("gateway", "assistant"):
        log = system.find(service).log.read_text()
        assert TOKEN not in log
        assert "Mimi" not in log


def test_a_sender_can_have_nothing_of_ours_fetched(system: System, telegram: Telegram) -> None:
    port = telegram.url.rpartition(":")[2]
    addresses = (
        "http://169.254.169.254/latest/meta-data/iam.txt",
        f"http://127.0.0.1:{port}/secret.txt",
        f"https://127.0.0.1:{port}/secret.txt",
        f"http://localhost:{port}/secret.txt",
    )
    files = [
        {"type": "file", "url": url, "name": f"{i}.txt", "media_type": "text/plain"}
        for i, url in enumerate(addresses)
    ]

    reply = system.ask("What do these files say?", attachments=files)

    assert telegram.asked == []
    assert reply["metadata"]["files_read"] == []
    assert "0.txt, 1.txt, 2.txt, 3.txt" in reply["content"]


def test_an_exception_of_the_operator_lets_a_file_be_read(
    new_system: Callable[..., System], telegram: Telegram
) -> None:
    netloc = telegram.url.removeprefix("http://")
    system = new_system(gateway={"egress_allowed_hosts": [netloc]})
    file = {"type": "file", "url": f"{telegram.url}/file/notes.txt", "media_type": "text/plain"}

    with system.running():
        plain = system.ask("What is the cat called?")
        reply = system.ask("What is the cat called?", sender="other", attachments=[file])

    assert telegram.asked == ["/file/notes.txt"]
    assert reply["metadata"]["files_read"] == ["file"]
    # The text itself stood in the prompt.
    tokens = [one["metadata"]["usage"]["prompt_tokens"] for one in (plain, reply)]
    assert tokens[1] > tokens[0] + 200
