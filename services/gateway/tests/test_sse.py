from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from clawdbot.gateway.adapters.sse import EventStream


async def test_a_client_that_takes_nothing_is_left() -> None:
    is_closed = False
    sent: list[str] = []

    async def chunks() -> AsyncGenerator[bytes, None]:
        nonlocal is_closed
        try:
            while True:
                yield b": waiting\n\n"
        finally:
            is_closed = True

    async def receive() -> dict[str, object]:
        await asyncio.Event().wait()
        return {}

    async def send(message: dict[str, object]) -> None:
        sent.append(str(message["type"]))
        if len(sent) == 3:
            await asyncio.Event().wait()

    async with asyncio.timeout(5):
        await EventStream(chunks(), send_timeout_s=0.01)({"type": "http"}, receive, send)

    assert sent == ["http.response.start", "http.response.body", "http.response.body"]
    assert is_closed
