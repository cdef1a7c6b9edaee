"""Replies that are posted to the operator's own address."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.system import Loopback, System, until


class Receiver(Loopback):
    """What a user's own endpoint gets; answers with the statuses it is told to give."""

    def __init__(self) -> None:
        super().__init__(self._receive)
        self.url += "/replies"
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []

    def _receive(self, _: str, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        status = self.statuses.pop(0) if self.statuses else 200
        self.received.append((headers, body))
        return status, {}

    def contents(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.received]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def test_replies_are_posted_signed_retried_and_dead_lettered(
    new_system: Callable[..., System], receiver: Receiver
) -> None:
    webhook = {"webhook": {"callback_url": receiver.url}}
    with new_system(platforms=webhook).running() as system:
        receiver.statuses = [503, 429, 200]
        first = system.post("/sysinfo", sender="caller").json()
        until(lambda: len(receiver.received) == 3, 30, "the third attempt")

        headers, body = receiver.received[-1]
        assert hmac.compare_digest(
            headers["x-signature"],
            hmac.new(system.secrets.read("webhook_secret"), body, hashlib.sha256).hexdigest(),
        )
        assert len({h["idempotency-key"] for h, _ in receiver.received}) == 1
        assert json.loads(body)["message_id"] == first["message_id"]

        receiver.statuses = [410]
        system.post("/sysinfo", sender="caller")
        third = system.post("/sysinfo", sender="caller").json()
        until(lambda: len(receiver.received) == 5, 30, "the reply after the refused one")

        assert receiver.contents()[-1]["message_id"] == third["message_id"]
        [letter] = system.dead_letters()
        assert letter.stream == "OUTBOUND"
