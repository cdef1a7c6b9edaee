"""An HTTP server inside a service: uvicorn that leaves the signals to the runtime."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator
from typing import Any

import uvicorn

from clawdbot.runtime.config import ConfigError


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave SIGTERM and SIGINT to the runtime, which stops things in order."""
        yield


class HTTPServer:
    """Serves one ASGI application on one socket.

    Args:
        app: the ASGI application.
        host: address to listen on.
        port: 0 takes any free one.
        options: further options of `uvicorn.Config`.

    Raises:
        ConfigError: the port is taken or not allowed.
    """

    def __init__(self, app: Any, host: str, port: int, **options: Any) -> None:
        try:
            self._socket = socket.create_server((host, port), reuse_port=False, backlog=2048)
        except OSError as exc:
            raise ConfigError(f"cannot listen on {host}:{port}: {exc.strerror}") from exc
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            interface="asgi3",
            **options,
        )
        self._server = _Server(config)

    async def serve(self) -> None:
        """Serve until `stop` is called and the requests in flight are answered."""
        await self._server.serve(sockets=[self._socket])

    async def stop(self, task: asyncio.Task[None], grace_s: float) -> None:
        """Close the door, let requests in flight finish for `grace_s` seconds, then end `task`."""
        self._server.should_exit = True
        _, pending = await asyncio.wait({task}, timeout=grace_s)
        if pending:
            self._server.force_exit = True
            await asyncio.wait({task}, timeout=2)
