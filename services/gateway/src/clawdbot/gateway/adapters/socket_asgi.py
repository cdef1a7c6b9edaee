"""`/ws` on the main port: a WebSocket of uvicorn's as a connection of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from uvicorn.protocols.utils import ClientDisconnected

from clawdbot.gateway.adapters import metrics
from clawdbot.gateway.adapters.client_address import client_address
from clawdbot.gateway.adapters.problems import problem_response
from clawdbot.gateway.adapters.socket_door import Handshake, SocketDoor
from clawdbot.gateway.adapters.socket_protocol import TRANSPORT, ASGITransport
from clawdbot.gateway.adapters.socket_session import Gone
from clawdbot.gateway.domain import sockets
from clawdbot.gateway.domain.messages import API
from clawdbot.gateway.domain.sockets import Ending
from clawdbot.schema.errors import ClawdbotError


@dataclass(frozen=True)
class SocketEndpoint:
    """Opens WebSockets on the main port."""

    door: SocketDoor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection until it ends (ASGI)."""
        try:
            guest = await self.door.greet(_handshake(scope))
        except ClawdbotError as exc:
            metrics.refused.labels(API, exc.code).inc()
            await WebSocket(scope, receive, send).send_denial_response(problem_response(exc))
            return
        await WebSocket(scope, receive, send).accept()
        await self.door.serve(ASGIConnection(scope, receive, send), guest)


class ASGIConnection:
    """A `Connection` over ASGI, ended past it: uvicorn's own close waits for a slow reader."""

    __slots__ = ("_receive", "_send", "_transport")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._transport = cast(ASGITransport, scope["extensions"][TRANSPORT]["transport"])

    async def receive(self) -> str:
        """Return the next text frame."""
        message = await self._receive()
        if message["type"] != "websocket.receive":
            raise Gone
        text = message.get("text")
        if not isinstance(text, str):
            self.end(sockets.BINARY)
            raise Gone
        return text

    async def send(self, frame: str) -> None:
        """Hand `frame` to the transport."""
        try:
            await self._send({"type": "websocket.send", "text": frame})
        # Uvicorn's own complaint about a send behind a close is a RuntimeError.
        except (ClientDisconnected, RuntimeError) as exc:
            raise Gone from exc

    def trust(self) -> None:
        """Let the peer send whole messages."""
        self._transport.trust()

    def end(self, ending: Ending) -> None:
        """Close."""
        self._transport.end(ending)


def _handshake(scope: Scope) -> Handshake:
    headers = Headers(scope=scope)
    return Handshake(
        address=client_address(scope),
        host=headers.get("host", ""),
        origins=headers.getlist("origin"),
        authorizations=headers.getlist("authorization"),
    )
