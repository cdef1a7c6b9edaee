from __future__ import annotations

import asyncio
import signal
import socket
from dataclasses import replace

import httpx
import pytest
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from clawdbot.runtime.config import ConfigError
from clawdbot.runtime.http_protocol import MAX_HEAD_BYTES, SLICE_BYTES
from clawdbot.runtime.http_server import HTTPServer, ServerSettings, WebSocketSettings

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


GET = b"GET / HTTP/1.1\r\nhost: x\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
IMPATIENT = replace(SETTINGS, head_s=0.05)


async def after_body(scope, receive, send) -> None:
    while (await receive()).get("more_body", False):
        pass
    await hello(scope, receive, send)


async def exchanged(app, settings: ServerSettings, *sent: bytes) -> bytes:
    """Return all that the server says to what is `sent` until it hangs up."""
    async with HTTPServer.open(app, settings) as server, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for part in sent:
            writer.write(part)
            await writer.drain()
        answer = await reader.read()
        writer.close()
    return answer


@pytest.mark.parametrize(
    "start",
    [GET + b"x: ", b"GET /", CHUNKED + b"0\r\nx: ", CHUNKED + b"1;", b"\r\n"],
    ids=["header", "address", "trailer", "chunk extension", "empty lines"],
)
async def test_a_head_without_an_end_is_refused_with_431(start: bytes) -> None:
    filler = b"\r\n" if start == b"\r\n" else b"a"
    # What is parsed together with a head's end does not count; no more is sent than has to be read,
    # as hanging up on bytes that nobody read would reset the connection.
    uncounted = SLICE_BYTES if start.startswith(CHUNKED) else 0
    endless = start + filler * ((MAX_HEAD_BYTES + uncounted) // len(filler))

    answer = await exchanged(after_body, SETTINGS, endless)

    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_a_long_head_is_refused_though_it_arrives_complete() -> None:
    request = GET + b"x: " + b"a" * (MAX_HEAD_BYTES + SLICE_BYTES) + b"\r\n\r\n"
    request += b"a" * (-len(request) % SLICE_BYTES)

    async with HTTPServer.open(hello, SETTINGS) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request)
        try:
            answer = await reader.read()
        except ConnectionResetError:
            answer = b""
        writer.close()

    assert b"hello" not in answer


async def test_whoever_only_holds_connections_keeps_nobody_out() -> None:
    few = replace(SETTINGS, max_connections=4)
    async with HTTPServer.open(hello, few) as server:
        url = f"http://127.0.0.1:{server.port}/"
        used = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(3)]
        for reader, writer in used:
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(3)]

        async with httpx.AsyncClient() as client:
            answers = [(await client.get(url)).status_code for _ in range(3)]

        assert answers == [200, 200, 200]
        for _, writer in used + silent:
            writer.close()


async def test_a_request_that_is_being_answered_keeps_its_connection() -> None:
    may_answer, waiting = asyncio.Event(), asyncio.Semaphore(0)

    async def slow(scope, receive, send) -> None:
        waiting.release()
        await may_answer.wait()
        await hello(scope, receive, send)

    async with HTTPServer.open(slow, replace(SETTINGS, max_connections=3)) as server:
        url = f"http://127.0.0.1:{server.port}/"
        async with httpx.AsyncClient() as one, httpx.AsyncClient() as other:
            asking = [asyncio.create_task(client.get(url)) for client in (one, other)]
            await waiting.acquire()
            await waiting.acquire()
            async with httpx.AsyncClient() as third:
                refused = await third.get(url)
            may_answer.set()
            answers = [await task for task in asking]

    assert refused.status_code == 503
    assert [answer.status_code for answer in answers] == [200, 200]


async def test_a_long_body_is_no_long_head() -> None:
    body = b"a" * (MAX_HEAD_BYTES * 10)

    async with HTTPServer.open(after_body, SETTINGS) as server, httpx.AsyncClient() as client:
        url = f"http://127.0.0.1:{server.port}/"
        answers = [await client.post(url, content=body) for _ in range(3)]

    assert [answer.text for answer in answers] == ["hello"] * 3


@pytest.mark.parametrize(
    "sent",
    [b"", GET, b"\r\n"],
    ids=["nothing", "half a head", "an empty line"],
)
async def test_who_does_not_send_a_head_is_hung_up_on(sent: bytes) -> None:
    answer = await exchanged(hello, IMPATIENT, sent)

    assert answer == b""


@pytest.mark.parametrize(
    "more",
    [GET, b"\r\n", b"the body that nobody asked for"],
    ids=["half a head", "an empty line", "the rest of a body"],
)
async def test_who_does_not_send_a_second_head_is_hung_up_on(more: bytes) -> None:
    first = GET + b"content-length: 1000\r\n\r\n" if b"body" in more else GET + b"\r\n"

    async with HTTPServer.open(hello, IMPATIENT) as server, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(first)
        answer = await reader.readuntil(b"hello\r\n0\r\n\r\n")
        writer.write(more)
        rest = await reader.read()
        writer.close()

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert rest == b""


async def test_a_started_second_head_does_not_end_the_first_answer() -> None:
    may_answer = asyncio.Event()

    async def slow(scope, receive, send) -> None:
        await may_answer.wait()
        await hello(scope, receive, send)

    async with HTTPServer.open(slow, IMPATIENT) as server, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(GET + b"\r\n" + GET)
        asyncio.get_running_loop().call_later(IMPATIENT.head_s * 3, may_answer.set)
        answer = await reader.read()
        writer.close()

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"hello" in answer


async def client_seen(settings: ServerSettings, forwarded: str) -> str:
    """Return whose address an application is told when a request says it was forwarded."""
    seen: list[str] = []

    async def note(scope, receive, send) -> None:
        seen.append(scope["client"][0])
        await hello(scope, receive, send)

    headers = {"X-Forwarded-For": forwarded}
    async with HTTPServer.open(note, settings) as server, httpx.AsyncClient() as client:
        await client.get(f"http://127.0.0.1:{server.port}/", headers=headers)
    return seen[0]


@pytest.mark.parametrize(
    ("trusted", "expected"),
    [
        ((), "127.0.0.1"),
        (("10.0.0.0/8",), "127.0.0.1"),
        (("127.0.0.1/32",), "10.1.2.3"),
        (("127.0.0.0/8", "10.0.0.0/8"), "203.0.113.9"),
    ],
)
async def test_only_a_trusted_proxy_says_whose_request_it_is(
    trusted: tuple[str, ...], expected: str
) -> None:
    settings = replace(SETTINGS, trusted_proxies=trusted)

    # The first address is the client's own claim; each proxy adds whom it saw.
    seen = await client_seen(settings, "198.51.100.1, 203.0.113.9, 10.1.2.3")

    assert seen == expected


async def test_two_servers_share_a_port_only_when_both_are_told_to() -> None:
    shared = replace(SETTINGS, is_shared=True)

    async with HTTPServer.open(hello, shared) as first:
        async with HTTPServer.open(hello, replace(shared, port=first.port)) as second:
            assert second.port == first.port
        with pytest.raises(ConfigError):
            async with HTTPServer.open(hello, replace(SETTINGS, port=first.port)):
                pass


async def echo(scope, receive, send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def test_an_upgraded_connection_is_not_held_to_the_time_for_a_head() -> None:
    websocket = WebSocketSettings(WebSocketsSansIOProtocol, max_bytes=100, ping_s=20)
    settings = replace(IMPATIENT, websocket=websocket)

    async with (
        HTTPServer.open(echo, settings) as server,
        connect(f"ws://127.0.0.1:{server.port}/", proxy=None) as client,
    ):
        await asyncio.sleep(3 * IMPATIENT.head_s)
        await client.send("hello")
        answer = await client.recv()
        await client.send("x" * 101)
        with pytest.raises(ConnectionClosed):
            await client.recv()

    assert answer == "hello"
    assert client.close_code == 1009


async def test_without_settings_for_them_nothing_becomes_a_websocket() -> None:
    async with HTTPServer.open(hello, SETTINGS) as server:
        with pytest.raises(InvalidStatus) as refused:
            async with connect(f"ws://127.0.0.1:{server.port}/", proxy=None):
                pass

    assert refused.value.response.status_code == 200
