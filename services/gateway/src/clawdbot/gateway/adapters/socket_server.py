"""The standalone WebSocket server on `platforms.socket.port`."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from clawdbot.gateway.adapters import metrics
from clawdbot.gateway.adapters.client_address import client_address
from clawdbot.gateway.adapters.edge import SECURITY_HEADERS
from clawdbot.gateway.adapters.problems import problem_response
from clawdbot.gateway.adapters.socket_door import Handshake, SocketDoor
from clawdbot.gateway.adapters.socket_protocol import CLOSE_S, MAX_MESSAGE_BYTES, PlainTransport
from clawdbot.gateway.adapters.socket_session import Gone
from clawdbot.gateway.domain import sockets
from clawdbot.gateway.domain.messages import API
from clawdbot.gateway.domain.sockets import Ending
from clawdbot.runtime.http_server import ServerSettings, listener
from clawdbot.schema.errors import ClawdbotError, NotFound

log = logging.getLogger(__name__)

PATHS = frozenset({"/", "/ws"})


class SocketServer:
    """Speaks with whoever connects to the port.

    Args:
        door: lets connections in.
        heartbeat_s: how often a silent peer is pinged, and how long it may take to answer.
    """

    def __init__(self, door: SocketDoor, heartbeat_s: float | None) -> None:
        self._door = door
        self._heartbeat_s = heartbeat_s
        self._proxies: ASGIApp | None = None

    @asynccontextmanager
    async def open(self, settings: ServerSettings) -> AsyncIterator[Server]:
        """Listen while the context lasts.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        proxies = settings.trusted_proxies
        if proxies:
            # Uvicorn types each message of ASGI, Starlette none.
            wrapped = ProxyHeadersMiddleware(cast(Any, _nothing), list(proxies))
            self._proxies = cast(ASGIApp, wrapped)
        serving = serve(
            self._serve,
            sock=listener(settings),
            ssl=settings.tls,
            create_connection=PlainTransport,
            process_request=self._greet,
            process_response=_secure,
            compression=None,
            max_size=MAX_MESSAGE_BYTES,
            max_queue=4,
            open_timeout=settings.head_s,
            ping_interval=self._heartbeat_s,
            ping_timeout=self._heartbeat_s,
            close_timeout=CLOSE_S,
            server_header=None,
        )
        async with serving as server:
            log.info("socket server listens", extra={"port": _port(server)})
            yield server

    async def _greet(self, connection: ServerConnection, request: Request) -> Response | None:
        try:
            if request.path.partition("?")[0] not in PATHS:
                raise NotFound("nothing is served here", fix="connect to /ws")
            guest = await self._door.greet(await self._handshake(connection, request))
            cast(PlainTransport, connection).guest = guest
        except ClawdbotError as exc:
            metrics.refused.labels(API, exc.code).inc()
            return _denial(exc)
        return None

    async def _handshake(self, connection: ServerConnection, request: Request) -> Handshake:
        headers = request.headers
        return Handshake(
            address=await self._address(connection, headers),
            host=next(iter(headers.get_all("Host")), ""),
            origins=headers.get_all("Origin"),
            authorizations=headers.get_all("Authorization"),
        )

    async def _address(self, connection: ServerConnection, headers: Headers) -> str:
        raw = [(n.lower().encode(), v.encode("latin-1")) for n, v in headers.raw_items()]
        scope: Scope = {"type": "websocket", "client": connection.remote_address, "headers": raw}
        if self._proxies is not None:
            # The same rule as on the main port, which uvicorn applies.
            await self._proxies(scope, _receive_nothing, _send_nothing)
        return client_address(scope)

    async def _serve(self, connection: ServerConnection) -> None:
        transport = cast(PlainTransport, connection)
        if transport.guest is not None:
            await self._door.serve(PlainConnection(transport), transport.guest)


class PlainConnection:
    """A `Connection` of the `websockets` server."""

    __slots__ = ("_transport",)

    def __init__(self, transport: PlainTransport) -> None:
        self._transport = transport

    async def receive(self) -> str:
        """Return the next text frame."""
        try:
            frame = await self._transport.recv()
        except ConnectionClosed as exc:
            raise Gone from exc
        if not isinstance(frame, str):
            self.end(sockets.BINARY)
            raise Gone
        return frame

    async def send(self, frame: str) -> None:
        """Hand `frame` to the transport."""
        try:
            await self._transport.send(frame)
        except ConnectionClosed as exc:
            raise Gone from exc

    def trust(self) -> None:
        """Let the peer send whole messages."""
        self._transport.trust()

    def end(self, ending: Ending) -> None:
        """Close."""
        self._transport.end(ending)


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve nobody: only what was made of the scope on the way here counts."""


async def _receive_nothing() -> Message:
    raise Gone


async def _send_nothing(_: Message) -> None:
    raise Gone


def _secure(_: ServerConnection, __: Request, response: Response) -> None:
    for name, value in SECURITY_HEADERS:
        response.headers[name.decode()] = value.decode()


def _denial(error: ClawdbotError) -> Response:
    answer = problem_response(error)
    headers = Headers([(n.decode(), v.decode()) for n, v in answer.raw_headers])
    headers["Connection"] = "close"
    body = bytes(answer.body)
    return Response(answer.status_code, HTTPStatus(answer.status_code).phrase, headers, body)


def _port(server: Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port
