"""Two gateways and a platform that they connect to: one at a time, also when it is killed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from clawdbot.runtime.leases import open_bucket
from clawdbot.schema.streams import CONNECTIONS
from services.gateway.tests.replicas import Gateway, Replicas, replicas
from tests.integration.polled_telegram import PolledTelegram

TOKEN = b"123456789:AAH-abcdefghijklmnopqrstuvwxyz012345"
TAKEN_OVER_S = 15
"""The bound for the default leases of 8 seconds; those of this test are shorter."""
PEOPLE = 5


@pytest.fixture
def telegram() -> Iterator[PolledTelegram]:
    with PolledTelegram() as running:
        yield running


@pytest_asyncio.fixture
async def stack(tmp_path: Path, telegram: PolledTelegram) -> AsyncIterator[Replicas]:
    account = {
        "api_base": telegram.url,
        "senders": "open",
        "connection": "socket",
        "live_replies": False,
    }
    platforms = {"telegram": {"accounts": {"default": account}}}
    secrets = {"telegram_default_bot_token": TOKEN}
    async with replicas(tmp_path, platforms, secrets) as running:
        yield running


@asynccontextmanager
async def answering(stack: Replicas) -> AsyncIterator[None]:
    """Answer every message while the context lasts."""
    task = asyncio.create_task(stack.answer_all())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def holder(stack: Replicas) -> int:
    """Return the process that is connected."""
    async with stack.local.bus("gateway") as bus:
        entry = await (await open_bucket(bus, CONNECTIONS)).get("telegram")
    return int((entry.value or b"").split(b":")[1])


def find(stack: Replicas, pid: int) -> Gateway:
    return next(gateway for gateway in stack.gateways if gateway.process.pid == pid)


async def until(condition: Callable[[], object], within_s: float = 30) -> float:
    began = time.monotonic()
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.02)
    return time.monotonic() - began


async def write(telegram: PolledTelegram, count: int, first: int) -> None:
    for number in range(first, first + count):
        telegram.write(number, chat=1 + number % PEOPLE, text=f"message {number}")
        await asyncio.sleep(0.02)


def answers(telegram: PolledTelegram) -> list[str]:
    return sorted(text for chat in telegram.chats.values() for text in chat.values())


async def test_the_holder_is_killed_in_the_stream_and_each_message_is_answered_once(
    stack: Replicas, telegram: PolledTelegram
) -> None:
    await stack.gateway()
    await stack.gateway()
    telegram.forgets = True
    writing = asyncio.create_task(write(telegram, 60, first=1))
    await until(lambda: len(telegram.given) >= 10)

    killed = find(stack, await holder(stack))
    killed.kill()
    before = telegram.reader
    # What was given comes again, though it was confirmed: as after an answer that was lost.
    await until(lambda: telegram.reader > before, TAKEN_OVER_S)
    telegram.forgets = False
    await writing
    async with answering(stack):
        await until(lambda: len(answers(telegram)) >= 60)

    assert answers(telegram) == sorted(f"re: message {number}" for number in range(1, 61))
    assert sum(telegram.sends.values()) == 60
    assert max(telegram.given.values()) > 1
    assert await holder(stack) != killed.process.pid
    assert TOKEN.decode() not in "".join(each.log.read_text() for each in stack.gateways)


async def test_a_gateway_that_stops_hands_over_at_once_and_nothing_comes_twice(
    stack: Replicas, telegram: PolledTelegram
) -> None:
    await stack.gateway()
    await stack.gateway()
    writing = asyncio.create_task(write(telegram, 40, first=1))
    async with answering(stack):
        await until(lambda: len(answers(telegram)) >= 10)
        stopped = find(stack, await holder(stack))
        assert await stopped.stop() == 0
        await writing
        await until(lambda: len(answers(telegram)) >= 40)

    assert answers(telegram) == sorted(f"re: message {number}" for number in range(1, 41))
    assert await holder(stack) != stopped.process.pid


async def test_an_account_that_we_connect_for_has_no_webhook(
    stack: Replicas, telegram: PolledTelegram
) -> None:
    gateway = await stack.gateway()

    await until(lambda: telegram.reader)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.port}") as client:
        answer = await client.post("/webhooks/telegram", json={"update_id": 1})
        ready = (await client.get("/readyz")).json()

    assert answer.status_code == 404
    assert "connection telegram" not in ready["warnings"]


async def test_two_polling_programs_are_told_of_with_the_way_out(
    stack: Replicas, telegram: PolledTelegram
) -> None:
    gateway = await stack.gateway()
    await until(lambda: telegram.reader)
    url = f"http://127.0.0.1:{gateway.port}/readyz"

    async with httpx.AsyncClient() as client:

        async def warned() -> str:
            warnings: dict[str, str] = (await client.get(url)).json()["warnings"]
            return warnings.get("connection telegram", "")

        stranger = asyncio.create_task(_poll_for_ever(telegram))
        async with asyncio.timeout(20):
            while not (told := await warned()):
                await asyncio.sleep(0.02)
        stranger.cancel()

    assert "deleteWebhook" in told


async def _poll_for_ever(telegram: PolledTelegram) -> None:
    while True:
        telegram.reader += 1
        await asyncio.sleep(0.01)
