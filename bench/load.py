"""Signed webhook messages over kept-alive connections, as a process of its own.

Usage: `python -m bench.load PORT COUNT RUN SECRET_FILE [PER_SECOND]`; prints the requests per
second and the 99th percentile of their milliseconds. Without PER_SECOND each connection sends as
soon as it is answered; with it, requests are sent when due, and time counts from then. HTTP
is written by hand, since a client library would need more time than the server that is measured.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import uvloop

from bench.measure import percentile

CONNECTIONS = 16
CONVERSATIONS = 64
BODY_BYTES = 1010
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Load:
    """What was measured."""

    per_s: float
    p99_ms: float


class Connection(asyncio.Protocol):
    """Sends one request after the other until there are none left."""

    def __init__(self, requests: Iterator[tuple[float, bytes]], took_s: list[float]) -> None:
        self._requests = requests
        self._took_s = took_s
        self._due = 0.0
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for `send`, so that all connections begin at once."""
        # uvloop's transports have the methods, not the base class.
        self._transport = cast("asyncio.Transport", transport)

    def send(self) -> None:
        """Send the next request, or end."""
        assert self._transport is not None
        due, request = next(self._requests, (0.0, None))
        if request is not None:
            self._due = due or self._loop.time()
            self._loop.call_at(self._due, self._transport.write, request)
        elif not self.ended.done():
            self.ended.set_result(None)
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Take a part of an answer."""
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = _LENGTH.search(head)
        if not head.startswith(b"HTTP/1.1 202 ") or length is None:
            self._fail(f"expected 202, got {self._received[:300]!r}")
        elif len(body) >= int(length[1]):
            self._received = b""
            self._took_s.append(self._loop.time() - self._due)
            self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report an end that came too early."""
        self._fail(f"the connection was lost: {exc}")

    def _fail(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_exception(ConnectionError(reason))


def requests(count: int, run: str, secret: bytes) -> list[bytes]:
    """Return `count` different messages, ready to be sent."""
    return [_request(_body(run, index), secret) for index in range(count)]


def _body(run: str, index: int) -> bytes:
    fields: dict[str, object] = {
        "platform": "webhook",
        "sender_id": f"user-{index % CONVERSATIONS}",
        "content": "",
        "timestamp": int(time.time()),
        "message_id": f"{run}-{index}",
        "conversation_id": f"conversation-{index % CONVERSATIONS}",
    }
    fields["content"] = "x" * (BODY_BYTES - len(json.dumps(fields)))
    return json.dumps(fields).encode()


def _request(body: bytes, secret: bytes) -> bytes:
    signature = hmac.digest(secret, body, hashlib.sha256).hex()
    head = (
        "POST /api/messages HTTP/1.1\r\n"
        "Host: 127.0.0.1\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"X-Signature: {signature}\r\n\r\n"
    )
    return head.encode() + body


async def measured(port: int, prepared: list[bytes], per_s: float | None) -> Load:
    """Send everything, all of it answered with 202."""
    loop = asyncio.get_running_loop()
    took_s: list[float] = []
    start = loop.time() + 0.1
    left = iter(
        [(start + index / per_s if per_s else 0.0, one) for index, one in enumerate(prepared)]
    )
    connections = [
        (await loop.create_connection(lambda: Connection(left, took_s), "127.0.0.1", port))[1]
        for _ in range(min(CONNECTIONS, len(prepared)))
    ]
    began = time.perf_counter()
    for connection in connections:
        connection.send()
    await asyncio.gather(*(connection.ended for connection in connections))
    return Load(
        per_s=len(prepared) / (time.perf_counter() - began), p99_ms=1000 * percentile(took_s, 0.99)
    )


def main() -> None:
    """Run as the process that `bench.gateway` starts."""
    port, count, run, secret, *pace = sys.argv[1:]
    per_s = float(pace[0]) if pace else None
    prepared = requests(int(count), run, Path(secret).read_bytes().strip())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(asdict(runner.run(measured(int(port), prepared, per_s)))))


if __name__ == "__main__":
    main()
