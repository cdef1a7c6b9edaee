"""Uvicorn as a part of the service: it serves, and leaves signals and the end to the runtime."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from clawdbot.runtime.config import ConfigError
from clawdbot.runtime.http_protocol import bounded

BACKLOG = 2048
KEEP_ALIVE_S = 75
"""Longer than proxies keep idle connections (60 s is usual), so that they close first."""


@dataclass(frozen=True)
class WebSocketSettings:
    """How WebSocket connections are spoken with, where there are any."""

    protocol: type[asyncio.Protocol]
    """Takes a connection over from HTTP, as uvicorn's `ws` setting has it."""
    max_bytes: int
    """Longest message; a longer one ends its connection (1009)."""
    ping_s: float
    """How often a silent peer is asked whether it is there, and how long it may take to answer."""


@dataclass(frozen=True)
class ServerSettings:
    """Where and how much."""

    host: str
    port: int
    """0 takes any free one."""
    max_connections: int
    """Open connections, idle ones included; beyond them 503."""
    grace_s: float
    """How long requests may take to finish once the service stops."""
    head_s: float = 10.0
    """How long a connection may take until a request's headers are complete."""
    is_shared: bool = False
    """Whether other processes listen on the same port; the system deals connections out."""
    tls: ssl.SSLContext | None = None
    trusted_proxies: tuple[str, ...] = ()
    """Networks whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed; no other's are."""
    websocket: WebSocketSettings | None = None
    """None upgrades no connection."""


class HTTPServer:
    """A listening server; `Uvicorn.serve` is not used, as it would take over the signals."""

    def __init__(self, server: uvicorn.Server, listening: socket.socket) -> None:
        self._server = server
        self._listening = listening

    @classmethod
    @asynccontextmanager
    async def open(cls, app: Any, settings: ServerSettings) -> AsyncIterator[HTTPServer]:
        """Listen while the context lasts; leaving it lets running requests finish first.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        config = _config(app, settings)
        config.load()
        config.ssl = settings.tls
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        with listener(settings) as listening:
            await server.startup(sockets=[listening])
            try:
                yield cls(server, listening)
            finally:
                server.should_exit = True
                await server.shutdown(sockets=[listening])

    @property
    def port(self) -> int:
        """The port that it listens on."""
        port: int = self._listening.getsockname()[1]
        return port

    async def tick(self) -> None:
        """Keep the `Date` header right, until the context is left."""
        await self._server.main_loop()


def _config(app: Any, settings: ServerSettings) -> uvicorn.Config:
    websocket = settings.websocket or WebSocketSettings(asyncio.Protocol, 0, 0)
    return uvicorn.Config(
        app,
        http=bounded(settings.head_s),
        ws="none" if settings.websocket is None else websocket.protocol,
        ws_max_size=websocket.max_bytes,
        ws_ping_interval=websocket.ping_s,
        ws_ping_timeout=websocket.ping_s,
        # A compressor for each connection would be most of what an idle one costs.
        ws_per_message_deflate=False,
        loop="none",
        lifespan="off",
        # A bound method, such as that of the health report, would pass for an older interface.
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        limit_concurrency=settings.max_connections,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, int(settings.grace_s)),
    )


def listener(settings: ServerSettings) -> socket.socket:
    """Return a socket that listens where `settings` say.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server(
            (settings.host, settings.port),
            family=family,
            backlog=BACKLOG,
            reuse_port=settings.is_shared,
        )
    except OSError as exc:
        raise ConfigError(
            f"cannot listen on {settings.host}:{settings.port}: {exc.strerror}; "
            "stop what uses that port, or choose another in the configuration"
        ) from exc
