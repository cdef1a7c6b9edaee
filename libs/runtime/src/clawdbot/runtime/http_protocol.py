"""Uvicorn's HTTP protocol with the bounds that it lacks: bytes and time before a request's body."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 65_536
"""Of request line and headers, of trailers, and of what may stand beside a chunk's size."""
SLICE_BYTES = 16_384
"""Much may arrive at once: parsed in slices, a head is at most this much longer than allowed."""
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"connection: close\r\ncontent-length: 0\r\n\r\n"
)


class BoundedProtocol(HttpToolsProtocol):
    """Ends connections that send an endless head, or take too long for one.

    A body's size and time are the application's business. While a connection is idle between two
    requests, uvicorn's own timer holds; one that is new when all places are taken ends the one that
    has been without a request for longest, so that those who only hold places keep nobody out.
    """

    _resting: ClassVar[dict[BoundedProtocol, None]] = {}
    """Of one server, those without a request whose headers came, the longest waiting first."""

    head_s = 10.0
    """From the connection, or a request's first byte, to the end of its headers."""

    _apart = 0
    """Bytes since the parser last told of anything but a head that goes on."""
    _timer: asyncio.TimerHandle | None = None
    _is_upgraded = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        """Expect a head (asyncio)."""
        super().connection_made(transport)
        self._make_room()
        self._resting[self] = None
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more (asyncio)."""
        self._resting.pop(self, None)
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse `data` as long as the connection is within its bounds (asyncio)."""
        for start in range(0, len(data), SLICE_BYTES):
            if self.transport.is_closing():
                return
            part = data[start : start + SLICE_BYTES]
            self._apart += len(part)
            super().data_received(part)
            if self._is_upgraded:
                # What came behind the handshake came before its answer, which nobody may send.
                return
            if self._apart > MAX_HEAD_BYTES:
                self._refuse()
        # Any byte ends uvicorn's own timer, those after an early answer and empty lines included.
        if self._timer is None and self._is_idle() and not self.transport.is_closing():
            self._expect_head()

    def on_message_begin(self) -> None:
        """Begin with a request (parser)."""
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        """Hand the request to the application (parser)."""
        self._apart = 0
        self._resting.pop(self, None)
        self._head_came()
        super().on_headers_complete()

    def handle_websocket_upgrade(self) -> None:
        """Leave the connection to another protocol, and its time with it (uvicorn)."""
        self._is_upgraded = True
        self._head_came()
        super().handle_websocket_upgrade()

    def on_body(self, body: bytes) -> None:
        """Hand a part of the body on (parser)."""
        self._apart = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request's body (parser)."""
        self._apart = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Rest unless the next request is here already (uvicorn)."""
        super().on_response_complete()
        if self._is_idle() and not self.transport.is_closing():
            self._resting[self] = None

    def _make_room(self) -> None:
        limit = self.limit_concurrency
        if limit is None or len(self.connections) < limit or not self._resting:
            return
        longest = next(iter(self._resting))
        del self._resting[longest]
        # At once: a farewell that nobody reads would hold the place.
        longest.transport.abort()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _expect_head(self) -> None:
        self._head_came()
        self._timer = self.loop.call_later(self.head_s, self._head_is_late)

    def _head_came(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _head_is_late(self) -> None:
        if self._is_idle():
            self.transport.close()
        else:
            # An earlier request is being answered; the rest of the next one may wait unread.
            self._expect_head()

    def _refuse(self) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is None or not self.cycle.response_started:
            self.transport.write(_TOO_LARGE)
        self.transport.close()


def bounded(head_s: float) -> type[BoundedProtocol]:
    """Return the protocol, giving `head_s` seconds for a head."""
    return type("BoundedProtocol", (BoundedProtocol,), {"head_s": head_s, "_resting": {}})
