"""What every request passes, whatever serves it: a span, a trace id, security headers, a clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from clawdbot.gateway.adapters import metrics
from clawdbot.gateway.adapters.problems import problem_response
from clawdbot.gateway.adapters.refusals import MethodNotAllowed
from clawdbot.runtime.telemetry import SpanKind, current_trace_id, extracted, span
from clawdbot.schema.errors import NotFound

HEALTH_PATHS = frozenset({"/healthz", "/readyz", "/startupz"})
"""Metrics are not for the public: the gateway's port of `ops.health_ports` shows them."""
SOCKET_PATH = "/ws"
_HANDSHAKES = frozenset({"websocket.accept", "websocket.http.response.start"})
_STARTS = _HANDSHAKES | {"http.response.start"}
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_TRACE_HEADERS = frozenset({b"traceparent", b"tracestate"})

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
SECURITY_HEADERS = [
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
]

_HTTPS_ONLY = [*SECURITY_HEADERS, (b"strict-transport-security", b"max-age=31536000")]
"""With TLS of our own; a proxy that ends TLS says it for itself."""

_NOT_ALLOWED = problem_response(
    MethodNotAllowed("this path does not take this method"), headers={"Allow": "GET, HEAD"}
)

_NOTHING_HERE = problem_response(NotFound("nothing is served here"))

HealthApp = Callable[[dict[str, Any], Callable[[], Any], Callable[[dict[str, Any]], Any]], Any]


class Edge:
    """Wraps the application; health is answered without a span.

    Args:
        app: everything else.
        health: answers `HEALTH_PATHS`.
        template_of: the route that a path belongs to, of low cardinality.
        shortcuts: what serves a method and path without asking `app`.
        socket: serves WebSockets at `SOCKET_PATH`.
    """

    def __init__(
        self,
        app: ASGIApp,
        health: HealthApp,
        template_of: Callable[[str], str],
        shortcuts: Mapping[tuple[str, str], ASGIApp],
        socket: ASGIApp | None = None,
    ) -> None:
        self._app = app
        self._shortcuts = shortcuts
        self._socket = socket
        self._health = health
        self._template_of = template_of
        self._clocks: dict[tuple[str, str, str], Any] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] == "websocket":
            await self._open_socket(scope, receive, send)
        elif scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] in HEALTH_PATHS:
            await self._tell_health(scope, receive, _Exchange(send).send)
        else:
            await self._serve(scope, receive, send)

    async def _tell_health(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in {"GET", "HEAD"}:
            await self._health(dict(scope), receive, send)
        else:
            await _NOT_ALLOWED(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        route = self._template_of(scope["path"])
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        exchange = _Exchange(send, _security_of(scope))
        try:
            with span(
                f"{method} {route}",
                kind=SpanKind.SERVER,
                parent=extracted(_trace_headers(scope)),
                http__request__method=method,
                http__route=route,
            ) as current:
                exchange.trace_id = current_trace_id()
                app = self._shortcuts.get((method, scope["path"]), self._app)
                await app(scope, receive, exchange.send)
                current.set_attribute("http.response.status_code", exchange.status)
        finally:
            status_class = f"{exchange.status // 100}xx"
            self._observe(route, method, status_class, time.perf_counter() - began)

    async def _open_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket; what is measured is its handshake, as it has no end of its own."""
        began = time.perf_counter()
        exchange = _Exchange(send, _security_of(scope))

        async def answer(message: Message) -> None:
            if message["type"] in _HANDSHAKES:
                await exchange.send(message)
                status_class = f"{exchange.status // 100}xx"
                route = self._template_of(scope["path"])
                self._observe(route, "GET", status_class, time.perf_counter() - began)
            else:
                await send(message)

        if self._socket is not None and scope["path"] == SOCKET_PATH:
            await self._socket(scope, receive, answer)
        else:
            await WebSocket(scope, receive, answer).send_denial_response(_NOTHING_HERE)

    def _observe(self, route: str, method: str, status_class: str, took_s: float) -> None:
        key = (route, method, status_class)
        if key not in self._clocks:
            self._clocks[key] = metrics.http_seconds.labels(*key)
        self._clocks[key].observe(took_s)


class _Exchange:
    """Adds headers to the answer and remembers its status."""

    def __init__(self, send: Send, security: list[tuple[bytes, bytes]] = SECURITY_HEADERS) -> None:
        self._send = send
        self._security = security
        self.status = 500
        self.trace_id: str | None = None

    async def send(self, message: Message | dict[str, Any]) -> None:
        """Pass `message` on (ASGI)."""
        if message["type"] in _STARTS:
            self.status = message.get("status", 101)
            headers = list(message.get("headers", ()))
            if not any(name.lower() == b"cache-control" for name, _ in headers):
                headers.append((b"cache-control", b"no-store"))
            if self.trace_id is not None:
                headers.append((b"x-trace-id", self.trace_id.encode()))
            message = {**message, "headers": [*headers, *self._security]}
        await self._send(message)


def _security_of(scope: Scope) -> list[tuple[bytes, bytes]]:
    return _HTTPS_ONLY if scope["scheme"] in {"https", "wss"} else SECURITY_HEADERS


def _trace_headers(scope: Scope) -> dict[str, str]:
    return {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in scope["headers"]
        if name in _TRACE_HEADERS
    }
