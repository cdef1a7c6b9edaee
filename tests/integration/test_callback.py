"""Replies that are posted to the operator's own address."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.integration.system import System, until


class Receiver:
    """What a user's own endpoint gets; answers with the statuses it is told to give."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver.statuses.pop(0) if receiver.statuses else 204
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.received.append((headers, body))
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/replies"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

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
        receiver.statuses = [503, 429, 204]
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
