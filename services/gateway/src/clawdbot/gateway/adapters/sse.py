"""Server-sent events: an answer while it is written.

Source: WHATWG HTML, section 9.2 (server-sent events).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

MEDIA_TYPE = "text/event-stream"
HEARTBEAT = b": waiting\n\n"
"""A comment, so that no proxy takes a thinking model for a dead connection."""


SEND_TIMEOUT_S = 15.0
"""A client that takes nothing for so long holds a place for nothing."""


def event(name: str, data: object) -> bytes:
    """Return one event; JSON has no line breaks of its own, so one data line is enough."""
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def data(value: object) -> bytes:
    """Return one event without a name."""
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


class EventStream(Response):
    """Sends chunks as they come, and stops asking for more when the client has left or stalls.

    It runs in the request's own task: closing the generator there closes what it holds.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self, chunks: AsyncGenerator[bytes, None], *, send_timeout_s: float = SEND_TIMEOUT_S
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._chunks = chunks
        self._send_timeout_s = send_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events (ASGI)."""
        request = Request(scope, receive)
        async with (
            aclosing(self._chunks) as chunks,
            aclosing(self._messages(chunks, request)) as messages,
        ):
            async for message in messages:
                if not await self._is_sent(send, message):
                    return

    async def _messages(
        self, chunks: AsyncGenerator[bytes, None], request: Request
    ) -> AsyncGenerator[Message, None]:
        status, headers = self.status_code, self.raw_headers
        yield {"type": "http.response.start", "status": status, "headers": headers}
        async for chunk in chunks:
            if await request.is_disconnected():
                return
            yield {"type": "http.response.body", "body": chunk, "more_body": True}
        yield {"type": "http.response.body", "body": b"", "more_body": False}

    async def _is_sent(self, send: Send, message: Message) -> bool:
        try:
            async with asyncio.timeout(self._send_timeout_s):
                await send(message)
        except TimeoutError:
            return False
        return True
