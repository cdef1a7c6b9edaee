"""What both WebSocket transports bound beyond their libraries: strangers' bytes, and goodbyes.

A library's limit on messages takes effect one message late, as its parser already waits for the
next one when a limit changes; so the bytes of whoever is not known yet are counted as they come.
"""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.asyncio.server import ServerConnection
from websockets.frames import CloseCode
from websockets.protocol import OPEN

from clawdbot.gateway.adapters.socket_door import Guest
from clawdbot.gateway.domain.sockets import Ending

STRANGER_BYTES = 16_384
"""What a peer may send before it is known: the longest token, and as much beside it."""
MAX_MESSAGE_BYTES = 1_048_576
CLOSE_S = 2.0
"""How long the peer may take to answer a close, or to read what lies before it."""
TRANSPORT = "clawdbot.transport"
"""The ASGI extension under which an application finds the protocol of its connection."""
_TOO_LONG = "more than may be sent before the connect was answered"


class ASGITransport(WebSocketsSansIOProtocol):
    """Uvicorn's protocol, which would wait for a slow reader before it closes."""

    _allowed: int | None = STRANGER_BYTES

    def handle_connect(self, event: Any) -> None:
        """Hand the connection to the application (uvicorn)."""
        super().handle_connect(event)
        if hasattr(self, "scope"):
            self.scope["extensions"][TRANSPORT] = {"transport": self}

    def data_received(self, data: bytes) -> None:
        """Take bytes within bounds (asyncio)."""
        if self.handshake_complete and self._allowed is not None:
            self._allowed -= len(data)
            if self._allowed < 0 and not self.close_sent:
                self.conn.fail(CloseCode.MESSAGE_TOO_BIG, _TOO_LONG)
                self.handle_parser_exception()
                return
        super().data_received(data)

    def trust(self) -> None:
        """Let the peer send whole messages."""
        self._allowed = None

    def end(self, ending: Ending) -> None:
        """Close behind what is written already, and do not wait for long."""
        if self.close_sent or self.disconnected or self.transport.is_closing():
            return
        self.stop_keepalive()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": ending.code})
        self.conn.send_close(ending.code, ending.reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        # Once this is set, uvicorn leaves the transport to it when the application returns.
        self.close_timer = self.loop.call_later(CLOSE_S, self.transport.abort)

    def keepalive_timeout(self) -> None:
        """End a connection whose peer did not answer a ping (uvicorn)."""
        super().keepalive_timeout()
        # Whoever is gone reads nothing more: what is still to be written must not keep it.
        self.loop.call_later(CLOSE_S, self.transport.abort)


class PlainTransport(ServerConnection):
    """A connection of the `websockets` server."""

    guest: Guest | None = None
    """Whom its handshake let in."""
    _allowed: int | None = STRANGER_BYTES

    def data_received(self, data: bytes) -> None:
        """Take bytes within bounds (asyncio)."""
        if self.protocol.state is OPEN and self._allowed is not None:
            self._allowed -= len(data)
            if self._allowed < 0:
                self.protocol.fail(CloseCode.MESSAGE_TOO_BIG, _TOO_LONG)
                self.send_data()
                self.loop.call_later(CLOSE_S, self.transport.abort)
                return
        super().data_received(data)

    def trust(self) -> None:
        """Let the peer send whole messages."""
        self._allowed = None

    def end(self, ending: Ending) -> None:
        """Close behind what is written already, and do not wait for long."""
        if self.protocol.state is not OPEN:
            return
        self.protocol.send_close(ending.code, ending.reason)
        self.send_data()
        self.loop.call_later(CLOSE_S, self.transport.abort)
