from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from services.gateway.tests.replicas import Replicas, connected, replicas

pytestmark = pytest.mark.integration


@pytest_asyncio.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Replicas]:
    async with replicas(tmp_path) as running:
        yield running


async def test_a_chat_streams_on_both_ports_with_the_numbers_of_the_stream(
    stack: Replicas,
) -> None:
    gateway = await stack.gateway()
    for url in (gateway.url, gateway.plain_url):
        async with connected(url, [url]) as client:
            sent = await client.ask("send", conversation_id=url, content=f"hello {url}")
            seq = await stack.answer(await stack.inbound())
            deltas = [await client.event("delta") for _ in range(2)]
            reply = await client.event("message")

        assert sent["result"]["status"] == "accepted"
        assert [delta["data"]["index"] for delta in deltas] == [0, 1]
        assert reply["seq"] == seq
        assert reply["data"]["content"] == f"re: hello {url}"
        assert reply["data"]["message_id"] == sent["result"]["message_id"]
