"""Reading a request's body within bounds of size, time and number."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request

from clawdbot.gateway.adapters.refusals import BadPayload, SlowBody, UnsupportedEncoding
from clawdbot.schema.errors import Overloaded, TooLarge

DISCARD_S = 2.0
"""How long the rest of a body that is too long is read, and forgotten."""


@dataclass(frozen=True)
class BodyLimits:
    """What a body may take."""

    max_bytes: int = 1_048_576
    timeout_s: float = 10.0
    """From the request's headers to the body's last byte; the server itself has no such limit."""


def require_plain(request: Request) -> None:
    """Pass when the body is not compressed: a few bytes could become gigabytes.

    Raises:
        UnsupportedEncoding: it is.
    """
    encodings = request.headers.getlist("content-encoding")
    if any(value.strip().lower() not in {"", "identity"} for value in encodings):
        raise UnsupportedEncoding(
            "compressed bodies are not accepted", fix="send the body without Content-Encoding"
        )


async def read_body(request: Request, limits: BodyLimits) -> bytes:
    """Return the whole body.

    Raises:
        TooLarge: it says or shows that it is longer than `limits.max_bytes`.
        SlowBody: it takes longer than `limits.timeout_s`.
        BadPayload: the client left in the middle.
    """
    try:
        async with asyncio.timeout(limits.timeout_s):
            return await _read(request, limits.max_bytes)
    except TimeoutError as exc:
        raise SlowBody(f"the body took longer than {limits.timeout_s:g} s") from exc
    except ClientDisconnect as exc:
        raise BadPayload("the body is incomplete") from exc
    except TooLarge:
        await _discard_rest(request)
        raise


async def _read(request: Request, max_bytes: int) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced[:19]) > max_bytes:
        raise _too_large(max_bytes)
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(received)


async def _discard_rest(request: Request) -> None:
    """Let the client finish: closing while it still writes resets the connection unanswered."""
    # Whoever asks first has not begun to write.
    if "expect" in request.headers:
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(DISCARD_S):
            while (await request.receive()).get("more_body", False):
                continue


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"the body is longer than {max_bytes} bytes")


class Gate:
    """Lets a number of requests in at a time and sends the rest away at once.

    Args:
        capacity: how many.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._inside = 0

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Hold a place.

        Raises:
            Overloaded: none is free.
        """
        if self._inside >= self._capacity:
            raise Overloaded("too many requests at the same time", retry_after_s=1.0)
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
