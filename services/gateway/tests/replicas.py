"""Gateways as processes on a real broker, somebody who answers, and clients on WebSockets."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, Self

import httpx
import jwt
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from websockets.asyncio.client import ClientConnection, connect

from clawdbot.runtime.bus import Bus
from clawdbot.runtime.testing import LocalBus, free_port, local_bus
from clawdbot.schema import subjects
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.messages import Delta, DeltaEnd, InboundMessage, OutboundMessage
from clawdbot.schema.streams import INBOUND

JWT_SECRET = b"a secret of at least thirty-two bytes"


def make_token(user: str = "ada", ttl_s: float = 60, **claims: Any) -> str:
    given = {
        "iss": "clawdbot",
        "aud": "clawdbot",
        "sub": user,
        "tenant": "default",
        "scopes": ["chat"],
        "iat": int(time.time()),
        "exp": int(time.time() + ttl_s),
        **claims,
    }
    return jwt.encode(given, JWT_SECRET, algorithm="HS256")


class Gateway:
    """One gateway process, with both of its ports."""

    def __init__(self, directory: Path, config: Path) -> None:
        self.port, self.socket_port, self.health_port = free_port(), free_port(), free_port()
        self.url = f"ws://127.0.0.1:{self.port}/ws"
        self.plain_url = f"ws://127.0.0.1:{self.socket_port}"
        self.log = directory / f"gateway-{self.port}.log"
        self._environment = {
            "PATH": os.environ["PATH"],
            "CLAWDBOT_CONFIG": str(config),
            "CLAWDBOT_APP__PORT": str(self.port),
            "CLAWDBOT_PLATFORMS__SOCKET__PORT": str(self.socket_port),
            "CLAWDBOT_OPS__HEALTH_PORTS__GATEWAY": str(self.health_port),
        }
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "clawdbot.gateway.main"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return self.process

    async def ready(self) -> Self:
        async with asyncio.timeout(30), httpx.AsyncClient(trust_env=False) as client:
            while self.process.poll() is None:
                with suppress(httpx.TransportError):
                    url = f"http://127.0.0.1:{self.port}/readyz"
                    if (await client.get(url)).status_code == 200:
                        return self
                await asyncio.sleep(0.02)
        raise AssertionError(self.log.read_text())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    async def stop(self) -> int:
        self.process.terminate()
        return await asyncio.to_thread(self.process.wait, 30)


class Replicas:
    """A broker, any number of gateways, and the assistant's place."""

    def __init__(self, directory: Path, local: LocalBus, assistant: Bus, config: Path) -> None:
        self.local = local
        self.assistant = assistant
        self.gateways: list[Gateway] = []
        self._directory = directory
        self._config = config
        self._closed: dict[tuple[int, int], float] = {}
        self.stored = 0
        """Replies that were stored."""

    async def gateway(self) -> Gateway:
        gateway = Gateway(self._directory, self._config)
        self.gateways.append(gateway)
        return await gateway.ready()

    async def restart(self, gateway: Gateway) -> None:
        gateway.start()
        await gateway.ready()

    async def closed(self, gateway: Gateway, code: int) -> None:
        """Return once the gateway has closed a socket with `code`."""
        line = f'clawdbot_gateway_sockets_closed_total{{reason="{code}"}}'
        url = f"http://127.0.0.1:{gateway.health_port}/metrics"
        seen = self._closed.get((gateway.port, code), 0)
        async with asyncio.timeout(30), httpx.AsyncClient(trust_env=False) as client:
            while True:
                text = (await client.get(url)).text
                counts = [line_.split()[-1] for line_ in text.splitlines() if line in line_]
                if counts and float(counts[0]) > seen:
                    self._closed[gateway.port, code] = float(counts[0])
                    return
                await asyncio.sleep(0.02)

    async def answered(self, count: int) -> None:
        """Return once so many replies are stored."""
        async with asyncio.timeout(20):
            while self.stored < count:
                await asyncio.sleep(0.01)

    async def answer_all(self) -> None:
        """Answer each message with what it said, in order, until cancelled."""
        position = 0
        while True:
            kept = await self.assistant.read_next(
                INBOUND, subjects.ALL_INBOUND, position + 1, InboundMessage, deadline=soon()
            )
            if kept is None:
                await asyncio.sleep(0.005)
            else:
                position = kept.sequence
                await self.answer(kept.message)

    async def inbound(self) -> InboundMessage:
        """Return the first message, once there is one."""
        while True:
            # Our own connection may still have to come back.
            with suppress(Unavailable):
                kept = await self.assistant.read_last(
                    INBOUND, subjects.ALL_INBOUND, InboundMessage, deadline=soon()
                )
                if kept is not None:
                    return kept.message
            await asyncio.sleep(0.01)

    async def answer(
        self, message: InboundMessage, content: str | None = None, part: int = 0
    ) -> int:
        deltas = subjects.deltas(message.conversation_id)
        text = f"re: {message.content}" if content is None else content
        for index, piece in enumerate((text[:4], text[4:20])):
            delta = Delta(message_id=message.message_id, index=index, text=piece)
            await self.assistant.broadcast(deltas, delta)
        reply = OutboundMessage(
            channel=message.channel,
            tenant=message.tenant,
            conversation_id=message.conversation_id,
            message_id=message.message_id,
            content=text,
            part=part,
            reply_to=message.reply_to,
            created_at_ms=message.accepted_at_ms,
        )
        where = subjects.outbound(
            message.channel, message.tenant, message.conversation_id, message.message_id, part
        )
        stored = await self.assistant.store_once(where, reply, deadline=soon())
        self.stored += 1
        await self.assistant.broadcast(deltas, DeltaEnd(message_id=message.message_id, count=2))
        return stored.sequence


def soon() -> Deadline:
    return Deadline.after(10)


@asynccontextmanager
async def replicas(
    directory: Path,
    platforms: dict[str, Any] | None = None,
    secrets: dict[str, bytes] | None = None,
    **limits: Any,
) -> AsyncIterator[Replicas]:
    """Provision a broker; gateways are started by the test, and ended here."""
    async with local_bus(directory, platforms=platforms or {}) as local:
        private = Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        for name, value in {
            "webhook_secret": b"a shared secret of the webhook",
            "reply_key": b"k" * 32,
            "jwt_secret": JWT_SECRET,
            "id_key": b"0123456789abcdef",
            "principal_private_key": private,
            **(secrets or {}),
        }.items():
            (local.secrets.directory / name).write_bytes(value)
        document = {
            "app": {"data_dir": str(directory)},
            "bus": {"url": local.config.bus.url, "lease_ttl_s": 1.5, "ack_wait_s": 1.5},
            "ops": {"health_ports": {"gateway": 0}, "log_format": "json"},
            "platforms": {"socket": {"enabled": True}, **(platforms or {})},
            "gateway": limits,
        }
        config = directory / "config.yaml"
        config.write_text(yaml.safe_dump(document))
        async with local.bus("assistant") as assistant:
            stack = Replicas(directory, local, assistant, config)
            try:
                yield stack
            finally:
                for gateway in stack.gateways:
                    if gateway.process.poll() is None:
                        await gateway.stop()


class Client:
    """Speaks frames."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self._ids = count(1)
        self.events: list[dict[str, Any]] = []
        """What came while an answer was awaited."""
        self.hello: dict[str, Any] = {}
        """What `connect` was answered with."""

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a request and return its answer."""
        request_id = str(next(self._ids))
        frame = {"type": "req", "id": request_id, "method": method, "params": params}
        await self.socket.send(json.dumps(frame))
        while True:
            got = await self.receive()
            if got["type"] == "res" and got["id"] == request_id:
                return got
            self.events.append(got)

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(20):
            frame: dict[str, Any] = json.loads(await self.socket.recv())
            return frame

    async def event(self, *names: str) -> dict[str, Any]:
        """Return the next event of these names."""
        while True:
            got = self.events.pop(0) if self.events else await self.receive()
            if got.get("event") in names:
                return got


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[Client]:
    async with connect(url, proxy=None, **options) as socket:
        yield Client(socket)


@asynccontextmanager
async def connected(
    url: str,
    conversations: Iterable[str] = ("c",),
    seq: int | None = None,
    token: str | None = None,
) -> AsyncIterator[Client]:
    async with opened(url) as client:
        params: dict[str, Any] = {"token": token or make_token(), "conversations": [*conversations]}
        if seq is not None:
            params["resume"] = {"seq": seq}
        answer = await client.ask("connect", **params)
        assert answer["ok"], answer
        client.hello = answer["result"]
        yield client
