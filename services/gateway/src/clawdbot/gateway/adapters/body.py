"""Reading a request's body within bounds of size, time and number."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace

from starlette.requests import ClientDisconnect, Request

from clawdbot.gateway.adapters.refusals import BadPayload, SlowBody, UnsupportedEncoding
from clawdbot.runtime.timeouts import Timeouts
from clawdbot.schema.errors import Overloaded, TooLarge

DISCARD_S = 2.0
"""How long the rest of a body that is too long is read, and forgotten."""
UNVERIFIED_S = 5.0
"""A signature over the body can only be checked once the body is here, so it has to come soon."""


@dataclass(frozen=True)
class BodyLimits:
    """What a body may take."""

    max_bytes: int = 1_048_576
    timeout_s: float = 10.0
    """From the request's headers to the body's last byte; the server itself has no such limit."""

    def unverified(self) -> BodyLimits:
        """Return the limits for the body of a sender that is not known before it is read."""
        return replace(self, timeout_s=min(self.timeout_s, UNVERIFIED_S))


class Gate:
    """Bounds how many requests are worked on at a time, and apart from them how many are read.

    Work that is one too many is sent away. A body that is one too many ends the one that has been
    read for longest: otherwise those who are never done would keep out those who are at once.

    Args:
        capacity: how many of either kind.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._inside = 0
        self._readers: dict[asyncio.Timeout, None] = {}
        """The oldest first."""
        self._timeouts = Timeouts()

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Hold a place to work.

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

    @asynccontextmanager
    async def read(self, timeout_s: float) -> AsyncIterator[None]:
        """Hold a place to read, for `timeout_s` or until it is the oldest and another is needed.

        Raises:
            TimeoutError: the place is lost.
        """
        if len(self._readers) >= self._capacity:
            self._end_oldest()
        async with self._timeouts.within(timeout_s) as limit:
            self._readers[limit] = None
            try:
                yield
            finally:
                self._readers.pop(limit, None)

    def _end_oldest(self) -> None:
        oldest = next(iter(self._readers))
        del self._readers[oldest]
        # One whose time is up just now cannot be told again.
        if not oldest.expired():
            oldest.reschedule(asyncio.get_running_loop().time())


async def read_body(request: Request, limits: BodyLimits, gate: Gate) -> bytes:
    """Return the whole body; what its headers say is checked before any of it is awaited.

    Raises:
        UnsupportedEncoding: it is compressed.
        TooLarge: it says or shows that it is longer than `limits.max_bytes`.
        SlowBody: it takes longer than `limits.timeout_s`, or longest of too many.
        BadPayload: the client left in the middle.
    """
    _require_plain(request)
    try:
        _require_short(request, limits.max_bytes)
        async with gate.read(limits.timeout_s):
            return await _read(request, limits.max_bytes)
    except TimeoutError as exc:
        raise SlowBody("the body did not arrive in time") from exc
    except ClientDisconnect as exc:
        raise BadPayload("the body is incomplete") from exc
    except TooLarge:
        await _discard_rest(request)
        raise


def _require_plain(request: Request) -> None:
    # A few compressed bytes could become gigabytes.
    encodings = request.headers.getlist("content-encoding")
    if any(value.strip().lower() not in {"", "identity"} for value in encodings):
        raise UnsupportedEncoding(
            "compressed bodies are not accepted", fix="send the body without Content-Encoding"
        )


def _require_short(request: Request, max_bytes: int) -> None:
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced[:19]) > max_bytes:
        raise _too_large(max_bytes)


async def _read(request: Request, max_bytes: int) -> bytes:
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
