from __future__ import annotations

import asyncio

import pytest
from starlette.requests import Request

from clawdbot.gateway.adapters.departure import ClientLeft, while_connected


def request_that(*, leaves: asyncio.Event) -> Request:
    async def receive() -> dict[str, str]:
        await leaves.wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http", "headers": []}, receive)


async def test_work_of_a_client_that_leaves_is_ended_first() -> None:
    begun, ended, leaves = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    waiting = asyncio.ensure_future(while_connected(request_that(leaves=leaves), work()))
    await begun.wait()
    leaves.set()

    with pytest.raises(ClientLeft):
        await waiting
    assert ended.is_set()


async def test_work_of_a_client_that_stays_is_returned() -> None:
    async def work() -> int:
        return 7

    assert await while_connected(request_that(leaves=asyncio.Event()), work()) == 7


async def test_what_the_work_raises_is_raised() -> None:
    async def work() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await while_connected(request_that(leaves=asyncio.Event()), work())
