"""Two gateways behind a proxy, killed and restarted at random while people write."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import httpx
import pytest

from clawdbot.runtime.testing import free_port
from tests.integration.system import Loopback, Service, System, until

SENDERS = 6


class Balancer:
    """A TCP proxy that deals connections out in turn, to whoever takes them."""

    def __init__(self, ports: list[int]) -> None:
        self._turn = itertools.cycle(ports)
        self._backends = len(ports)
        self.port = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Balancer]:
        async with await asyncio.start_server(self._deal, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self

    async def _deal(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            back_reader, back_writer = await self._backend()
            # Whichever side ends, the other has nobody to talk to.
            ways = [
                asyncio.create_task(_copy(reader, back_writer)),
                asyncio.create_task(_copy(back_reader, writer)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            back_writer.close()
        writer.close()

    async def _backend(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for _ in range(self._backends):
            with suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", next(self._turn))
        raise ConnectionRefusedError


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


class Replies(Loopback):
    """The operator's callback: which keys arrived for which message."""

    def __init__(self) -> None:
        super().__init__(self._receive)
        self.keys: dict[str, set[str]] = defaultdict(set)

    def _receive(self, _: str, headers: dict[str, str], __: bytes) -> tuple[int, Any]:
        key = headers["idempotency-key"]
        self.keys[key.partition(".")[0]].add(key)
        return 200, {}


class People:
    """Writes messages through the proxy, each again until somebody says that it is kept."""

    def __init__(self, system: System, port: int, count: int) -> None:
        self._system = system
        self._url = f"http://127.0.0.1:{port}"
        self._numbers = iter(range(count))
        self._lock = threading.Lock()
        self.accepted: set[str] = set()
        self.failures = 0

    @contextmanager
    def writing(self) -> Iterator[None]:
        writers = [threading.Thread(target=self._write, args=(n,)) for n in range(SENDERS)]
        for writer in writers:
            writer.start()
        yield
        for writer in writers:
            writer.join()

    def _write(self, sender: int) -> None:
        while (number := self._next()) is not None:
            message_id = self._until_kept(sender, number)
            with self._lock:
                self.accepted.add(message_id)

    def _next(self) -> int | None:
        with self._lock:
            return next(self._numbers, None)

    def _until_kept(self, sender: int, number: int) -> str:
        def kept() -> str | None:
            # A connection of its own each time, so that both gateways are asked.
            with httpx.Client(base_url=self._url, timeout=10, trust_env=False) as http:
                try:
                    answer = self._system.post(
                        "/sysinfo", sender=f"s{sender}", message_id=f"m{number}", via=http
                    )
                except httpx.HTTPError:
                    answer = None
            if answer is not None and answer.status_code in (200, 202):
                return str(answer.json()["message_id"])
            assert answer is None or answer.status_code == 503, answer.text
            with self._lock:
                self.failures += 1
            return None

        found: str = until(kept, 60, "a gateway that takes the message")
        return found


def replicas_survive(system: System, replies: Replies, count: int, kills: int) -> None:
    ports = [system.config.app.port, free_port()]
    gateways = {ports[0]: system.find("gateway"), ports[1]: start(system, ports[1])}
    gateways[ports[1]].wait_ready()
    chance = random.Random(11)
    balancer = Balancer(ports).serving()
    with system.portal.wrap_async_context_manager(balancer) as proxy:
        people = People(system, proxy.port, count)
        with people.writing():
            for kill in range(kills):
                share = (kill + 1) * count // (kills + 1)
                until(lambda share=share: len(people.accepted) >= share, 120, "some load")
                port = chance.choice(ports)
                gateways[port].kill()
                gateways[port] = start(system, port)
                gateways[port].wait_ready()

    until(lambda: len(replies.keys) >= count, 120, "a reply to every message")
    assert set(replies.keys) == people.accepted
    assert all(len(keys) == 1 for keys in replies.keys.values())
    assert system.count("OUTBOUND") == system.count("INBOUND") == count
    assert not system.dead_letters()


def start(system: System, port: int) -> Service:
    return system.start("gateway", CLAWDBOT_APP__PORT=str(port))


@pytest.fixture
def replies() -> Iterator[Replies]:
    with Replies() as running:
        yield running


def test_every_accepted_message_has_one_reply_whichever_gateway_dies(
    new_system: Callable[..., System], replies: Replies
) -> None:
    webhook = {"webhook": {"callback_url": replies.url}}
    with new_system(platforms=webhook).running() as system:
        replicas_survive(system, replies, count=60, kills=3)


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_every_accepted_message_has_one_reply_after_sixty_deaths(
    new_system: Callable[..., System], replies: Replies
) -> None:
    webhook = {"webhook": {"callback_url": replies.url}}
    with new_system(platforms=webhook).running() as system:
        replicas_survive(system, replies, count=3000, kills=60)
