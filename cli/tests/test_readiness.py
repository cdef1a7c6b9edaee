from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from clawdbot.cli.readiness import Report, ask_all, until_ready

READY = {"status": "ready", "failing": {}, "warnings": {"model": "slow"}}
LACKING = {"status": "not ready", "failing": {"model": "no file"}, "warnings": {}}
STARTING = {"status": "not ready", "failing": {"start": "still starting"}, "warnings": {}}


@asynccontextmanager
async def answering(*bodies: object) -> AsyncIterator[str]:
    """Serve the bodies one after another, then the last one for ever."""
    left = list(bodies)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = left.pop(0) if len(left) > 1 else left[0]
        content = json.dumps(body).encode()
        status = "200 OK" if body is READY else "503 Service Unavailable"
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + content)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/readyz"


async def test_a_service_is_waited_for_until_it_is_ready() -> None:
    told: dict[str, Report] = {}

    async with answering(STARTING, LACKING, READY) as url:
        last = await until_ready({"memory": url}, within_s=20, tell=told.__setitem__)

    assert last["memory"].is_ready
    assert told["memory"].warnings == {"model": "slow"}


async def test_who_lacks_something_for_good_is_not_waited_for() -> None:
    async with answering(STARTING, LACKING) as url:
        last = await until_ready({"inference": url}, within_s=20, may_lack={"inference"})

    assert last["inference"].failing == {"model": "no file"}


async def test_the_reason_is_known_when_the_time_is_over() -> None:
    async with answering(LACKING) as url:
        last = await until_ready({"memory": url}, within_s=0.5)

    assert last["memory"].failing == {"model": "no file"}


async def test_whatever_answers_wrongly_is_not_ready() -> None:
    async with answering([1]) as odd:
        reports = await ask_all({"odd": odd, "closed": "http://127.0.0.1:1/readyz"})

    assert "does not answer like a service of ours" in reports["odd"].failing["http"]
    assert "no answer from http://127.0.0.1:1/readyz" in reports["closed"].failing["http"]
