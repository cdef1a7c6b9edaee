from __future__ import annotations

import asyncio
import signal
import socket

import httpx
import pytest

from clawdbot.runtime.config import ConfigError
from clawdbot.runtime.http_server import HTTPServer, ServerSettings

SETTINGS = ServerSettings(host="127.0.0.1", port=0, max_connections=50, grace_s=5)


async def hello(scope, receive, send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def test_it_serves_without_naming_itself_and_leaves_signals_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)

    async with HTTPServer.open(hello, SETTINGS) as server, httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{server.port}/")
        during = signal.getsignal(signal.SIGTERM)

    assert answer.text == "hello"
    assert "server" not in answer.headers
    assert during is before


async def test_the_date_is_kept_right_until_the_server_is_closed() -> None:
    async with HTTPServer.open(hello, SETTINGS) as server, httpx.AsyncClient() as client:
        tick = asyncio.create_task(server.tick())
        # The first tick sets the header; how soon is the server's business.
        while "date" not in (await client.get(f"http://127.0.0.1:{server.port}/")).headers:
            pass

    await tick


async def test_a_running_request_is_finished_before_the_server_is_closed() -> None:
    arrived, may_answer = asyncio.Event(), asyncio.Event()

    async def slow(scope, receive, send) -> None:
        arrived.set()
        await may_answer.wait()
        await hello(scope, receive, send)

    server = HTTPServer.open(slow, SETTINGS)
    async with httpx.AsyncClient() as client:
        async with server as opened:
            asking = asyncio.create_task(client.get(f"http://127.0.0.1:{opened.port}/"))
            await arrived.wait()
            asyncio.get_running_loop().call_later(0.05, may_answer.set)
        answer = await asking

    assert answer.text == "hello"


async def test_a_taken_port_is_said_with_the_fix() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = ServerSettings(host="127.0.0.1", port=port, max_connections=5, grace_s=1)

        with pytest.raises(ConfigError, match="choose another"):
            async with HTTPServer.open(hello, settings):
                pass
