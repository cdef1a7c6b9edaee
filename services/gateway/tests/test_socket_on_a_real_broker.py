from __future__ import annotations

import asyncio
import json
import random
import socket as sockets
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from clawdbot.schema.tokens import LEEWAY_S
from services.gateway.tests.replicas import (
    Client,
    Gateway,
    Replicas,
    connected,
    make_token,
    opened,
    replicas,
)

pytestmark = pytest.mark.integration
DOCS = Path(__file__).parents[3] / "docs"


@pytest_asyncio.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Replicas]:
    limits = {"socket_stall_s": 0.5, "socket_heartbeat_s": 0.5, "socket_connections_per_user": 4}
    async with replicas(tmp_path, **limits) as running:
        yield running


def both(gateway: Gateway) -> tuple[str, str]:
    return gateway.url, gateway.plain_url


async def closed(client: Client) -> tuple[int, str]:
    """Return code and reason of the end, whatever comes before it."""
    async with asyncio.timeout(20):
        with suppress(ConnectionClosed):
            while True:
                await client.socket.recv()
    return client.socket.close_code or 0, client.socket.close_reason or ""


async def test_a_chat_streams_on_both_ports_with_the_numbers_of_the_stream(
    stack: Replicas,
) -> None:
    gateway = await stack.gateway()
    for url in both(gateway):
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


async def test_a_second_device_on_another_replica_hears_the_same_and_a_stranger_nothing(
    stack: Replicas,
) -> None:
    first, second = await stack.gateway(), await stack.gateway()
    async with (
        connected(first.url) as phone,
        connected(second.plain_url) as desk,
        connected(second.url, token=make_token("eve")) as eve,
    ):
        sent = await phone.ask("send", conversation_id="c", content="hello", message_id="m1")
        again = await desk.ask("send", conversation_id="c", content="hello", message_id="m1")
        other = await desk.ask("send", conversation_id="c", content="other", message_id="m1")
        await stack.answer(await stack.inbound())
        heard = [await client.event("message") for client in (phone, desk)]
        ticks = await eve.event("tick", "message")

    assert heard[0] == heard[1]
    assert (again["result"]["status"], again["result"]["message_id"]) == (
        "repeated",
        sent["result"]["message_id"],
    )
    assert other["error"]["code"] == "id_reused"
    assert ticks["event"] == "tick"


async def test_what_came_meanwhile_is_heard_on_any_replica_once_and_in_order(
    stack: Replicas,
) -> None:
    first, second = await stack.gateway(), await stack.gateway()
    async with connected(first.url, ["a", "b"]) as client:
        answering = asyncio.create_task(stack.answer_all())
        await client.ask("send", conversation_id="a", content="1")
        seen = (await client.event("message"))["seq"]
        for index, name in enumerate("bab"):
            await client.ask("send", conversation_id=name, content=str(index))
    await stack.answered(4)
    async with connected(second.plain_url, ["a", "b"], seen) as client:
        missed = [await client.event("message") for _ in range(3)]
        hello = client.hello
        old = await client.ask("subscribe", conversation_id="a", after_seq=0)
        replayed = [e["seq"] for e in client.events if e["event"] == "message"]
        beyond = await client.ask("subscribe", conversation_id="a", after_seq=1_000_000)
    answering.cancel()

    assert (hello["seq"], hello["gap"]) == (seen, False)
    assert [m["data"]["conversation_id"] for m in missed] == ["b", "a", "b"]
    assert [m["seq"] for m in missed] == sorted({m["seq"] for m in missed})
    assert missed[0]["seq"] > seen
    assert old["ok"]
    assert beyond["ok"]
    assert replayed == [seen, missed[1]["seq"]]


async def test_a_number_that_nothing_has_yet_is_a_gap(stack: Replicas) -> None:
    gateway = await stack.gateway()

    async with connected(gateway.url, seq=1_000) as client:
        assert client.hello["gap"]
        assert client.hello["seq"] == 0


class Talker:
    """A client that keeps the rules: the highest number, and what had no answer is sent again."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.total = sys.maxsize
        """Messages in all, once that is known."""
        self.seq: int | None = None
        self.heard: list[tuple[int, str]] = []
        self.reconnects = 0
        self._accepted = 0

    def end_after(self, messages: int) -> None:
        """Stop soon, but not before so many."""
        self.total = max(messages, self._accepted + 2)

    async def talk(self, urls: list[str]) -> None:
        while len(self.heard) < self.total:
            with suppress(ConnectionClosed, OSError, InvalidStatus, TimeoutError):
                await self._connect(random.choice(urls))
            self.reconnects += 1

    async def _connect(self, url: str) -> None:
        token = make_token(self.name)
        async with connected(url, [self.name], self.seq, token) as client:
            self.seq = max(self.seq or 0, client.hello["seq"])
            assert not client.hello["gap"]
            sending = asyncio.create_task(self._listen(client))
            try:
                while self._accepted < self.total:
                    await self._send(client)
                await sending
            finally:
                sending.cancel()

    async def _send(self, client: Client) -> None:
        number = str(self._accepted)
        params = {"conversation_id": self.name, "content": number, "message_id": number}
        frame = {"type": "req", "id": number, "method": "send", "params": params}
        self._answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        await client.socket.send(json.dumps(frame))
        async with asyncio.timeout(10):
            is_accepted = await self._answer
        if not is_accepted:
            # Over a rate, most likely: it would be refused again right now.
            await asyncio.sleep(0.05)
        self._accepted += is_accepted

    async def _listen(self, client: Client) -> None:
        try:
            while len(self.heard) < self.total:
                self._note(await client.receive())
        finally:
            if not self._answer.done():
                self._answer.set_result(False)

    def _note(self, frame: dict[str, Any]) -> None:
        if frame["type"] == "res":
            self._answer.set_result(frame["ok"])
        elif frame.get("event") == "message":
            self.seq = max(self.seq or 0, frame["seq"])
            self.heard.append((frame["seq"], frame["data"]["content"]))


async def _killed_under_load(stack: Replicas, talkers: int, messages: int, kills: int) -> None:
    gateways = [await stack.gateway(), await stack.gateway()]
    urls = [url for gateway in gateways for url in both(gateway)]
    crowd = [Talker(f"user{number}") for number in range(talkers)]
    answering = asyncio.create_task(stack.answer_all())
    talking = asyncio.gather(*(talker.talk(urls) for talker in crowd))
    for number in range(kills):
        before = sum(len(talker.heard) for talker in crowd)
        while sum(len(talker.heard) for talker in crowd) < before + 2 * talkers:
            await asyncio.sleep(0.01)
        # In turn, so that nobody is spared.
        victim = gateways[number % 2]
        victim.kill()
        await stack.restart(victim)
    for talker in crowd:
        talker.end_after(messages)
    async with asyncio.timeout(60 + talkers * messages):
        await talking
    answering.cancel()

    for talker in crowd:
        assert [text for _, text in talker.heard] == [f"re: {n}" for n in range(talker.total)]
        seqs = [seq for seq, _ in talker.heard]
        assert seqs == sorted(set(seqs))
        assert talker.reconnects > 1


async def test_replicas_killed_under_load_cost_no_reply_and_repeat_none(stack: Replicas) -> None:
    await _killed_under_load(stack, talkers=4, messages=20, kills=2)


@pytest.mark.proof
@pytest.mark.timeout(3000)
async def test_replicas_killed_many_times_under_load_cost_no_reply(stack: Replicas) -> None:
    await _killed_under_load(stack, talkers=12, messages=200, kills=40)


async def test_a_reader_that_takes_nothing_is_closed_with_4008_and_loses_nothing(
    stack: Replicas,
) -> None:
    gateway = await stack.gateway()
    for number, url in enumerate(both(gateway)):
        name, token = f"slow{number}", make_token(f"slow{number}")
        raw = sockets.socket()
        raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        raw.setblocking(False)
        port = gateway.port if number == 0 else gateway.socket_port
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
        async with connect(url, sock=raw, proxy=None, max_queue=1, ping_interval=None) as slow:
            client = Client(slow)
            hello = await client.ask("connect", token=token, conversations=[name])
            await client.ask("send", conversation_id=name, content="go")
            message = await stack.inbound()
            slow.transport.pause_reading()
            stored = [
                await stack.answer(message, f"{part} " + "x" * 60_000, part) for part in range(80)
            ]
            await stack.closed(gateway, 4008)
            slow.transport.resume_reading()
            code, reason = await closed(client)

        async with connected(url, [name], hello["result"]["seq"], token) as again:
            heard = [(await again.event("message"))["seq"] for _ in stored]

        assert code == 4008
        assert "too long" in reason
        assert heard == stored


async def test_nobody_unknown_stays(stack: Replicas) -> None:
    gateway = await stack.gateway()
    unscoped = make_token(scopes=["memory:read"])
    for url in both(gateway):
        ends = {}
        for name, first in {
            "forged": {"method": "connect", "params": {"token": "a.b.c"}},
            "silent": {"method": "connect"},
            "hasty": {"method": "send", "params": {"conversation_id": "c", "content": "x"}},
            "unscoped": {"method": "connect", "params": {"token": unscoped}},
        }.items():
            async with opened(url) as client:
                await client.socket.send(json.dumps({"type": "req", "id": "1", **first}))
                ends[name] = (await closed(client))[0]
        async with opened(url) as client:
            await client.socket.send(b"bytes")
            ends["binary"] = (await closed(client))[0]
        async with opened(url) as client:
            await client.socket.send("x" * 20_000)
            ends["long"] = (await closed(client))[0]
        async with connected(url, token=make_token(ttl_s=2 - LEEWAY_S)) as client:
            ends["expired"] = (await closed(client))[0]
        with pytest.raises(InvalidStatus) as header:
            async with opened(url, additional_headers={"Authorization": "Bearer a.b.c"}):
                pass
        with pytest.raises(InvalidStatus) as page:
            async with opened(url, origin="https://evil.example.org"):
                pass

        assert ends == {
            "forged": 4001,
            "silent": 4001,
            "hasty": 4001,
            "unscoped": 4003,
            "binary": 1003,
            "long": 1009,
            "expired": 4001,
        }
        assert (header.value.response.status_code, page.value.response.status_code) == (401, 403)


async def test_a_header_or_our_own_page_will_do_and_a_new_token_prolongs(stack: Replicas) -> None:
    gateway = await stack.gateway()
    bearer = {"Authorization": f"Bearer {make_token(ttl_s=2 - LEEWAY_S)}"}
    for url in both(gateway):
        async with opened(
            url, additional_headers=bearer, origin=f"http://127.0.0.1:{gateway.port}"
        ) as client:
            hello = await client.ask("connect")
            foreign = await client.ask("refresh", token=make_token("eve"))
            fresh = await client.ask("refresh", token=make_token())
            long = await client.ask("send", conversation_id="c", content="x" * 60_000)

        assert hello["result"]["user"] == "ada"
        assert foreign["error"]["code"] == "forbidden"
        assert fresh["ok"]
        assert long["ok"]


async def test_one_user_holds_so_many_connections_and_no_more(stack: Replicas) -> None:
    gateway = await stack.gateway()
    async with (
        connected(gateway.url),
        connected(gateway.url),
        connected(gateway.plain_url),
        connected(gateway.plain_url),
    ):
        async with opened(gateway.url) as client:
            await client.socket.send(
                json.dumps(
                    {
                        "type": "req",
                        "id": "1",
                        "method": "connect",
                        "params": {"token": make_token()},
                    }
                )
            )
            assert (await closed(client))[0] == 4029


async def test_a_gateway_that_stops_says_so_and_ends(stack: Replicas) -> None:
    gateway = await stack.gateway()
    async with connected(gateway.url) as first, connected(gateway.plain_url) as second:
        stopping = asyncio.create_task(gateway.stop())
        ends = [await closed(first), await closed(second)]
        status = await stopping

    assert ends == [(1012, "the gateway stops; connect again and resume")] * 2
    assert status == 0


async def test_a_broker_that_goes_and_comes_back_ends_no_connection(stack: Replicas) -> None:
    gateway = await stack.gateway()
    async with connected(gateway.url) as client:
        await stack.local.broker.kill()
        refused = await client.ask("send", conversation_id="c", content="hello", message_id="m")
        await stack.local.broker.start()
        accepted = refused
        async with asyncio.timeout(20):
            while not accepted["ok"]:
                await asyncio.sleep(0.1)
                params = {"conversation_id": "c", "content": "hello", "message_id": "m"}
                accepted = await client.ask("send", **params)
        seq = await stack.answer(await stack.inbound())
        reply = await client.event("message")

    assert refused["error"]["status"] == 503
    assert reply["seq"] == seq


async def test_the_client_of_the_documents_works_as_it_stands_there(stack: Replicas) -> None:
    pages = [(DOCS / page).read_text() for page in ("socket.md", "zh/socket.md")]
    programs = {page.partition("```python\n")[2].partition("```")[0] for page in pages}
    (program,) = programs
    gateway = await stack.gateway()
    answering = asyncio.create_task(stack.answer_all())

    running = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, gateway.url, make_token(), stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(30):
        said, _ = await running.communicate()
    answering.cancel()

    assert said.decode().strip() == str({"q1": "re: Hello!", "q2": "re: Who are you?"})
