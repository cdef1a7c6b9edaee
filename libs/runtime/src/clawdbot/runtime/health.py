"""Liveness, readiness and metrics over HTTP: `/healthz /readyz /startupz /metrics`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from prometheus_client import make_asgi_app

Check = Callable[[], str | None]
"""Returns None when all is well, else the reason why not."""
Scope = dict[str, Any]
Receive = Callable[[], Any]
Send = Callable[[dict[str, Any]], Any]


class Health:
    """What a service says of itself."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._needed: dict[str, Check] = {}
        self._wanted: dict[str, Check] = {}
        self._metrics = make_asgi_app()
        self.is_started = False
        self.is_stopping = False

    def ready_when(self, name: str, check: Check) -> None:
        """Be ready only while `check` returns None."""
        self._needed[name] = check

    def warn_when(self, name: str, check: Check) -> None:
        """Show what `check` returns, without being less ready for it."""
        self._wanted[name] = check

    def report(self) -> tuple[bool, dict[str, object]]:
        """Return whether the service is ready, and why or why not."""
        failing = _failing(self._needed)
        if not self.is_started:
            failing["start"] = "still starting"
        if self.is_stopping:
            failing["stop"] = "stopping"
        body: dict[str, object] = {
            "service": self._service,
            "status": "not ready" if failing else "ready",
            "failing": failing,
            "warnings": _failing(self._wanted),
        }
        return not failing, body

    async def asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the four paths; anything else is 404."""
        if scope["type"] != "http":
            return
        if scope["path"].rstrip("/") == "/metrics":
            await self._metrics(scope, receive, send)
            return
        status, body = self._answer(scope["path"])
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        content = json.dumps(body, ensure_ascii=False).encode()
        await send({"type": "http.response.body", "body": content})

    def _answer(self, path: str) -> tuple[int, dict[str, object]]:
        if path == "/healthz":
            return 200, {"service": self._service, "status": "alive"}
        if path == "/startupz":
            status = "started" if self.is_started else "starting"
            return 200 if self.is_started else 503, {"service": self._service, "status": status}
        if path == "/readyz":
            is_ready, body = self.report()
            return 200 if is_ready else 503, body
        return 404, {"status": "not found", "known": "/healthz /readyz /startupz /metrics"}


def _failing(checks: dict[str, Check]) -> dict[str, str]:
    return {name: reason for name, check in checks.items() if (reason := check())}
