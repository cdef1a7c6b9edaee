from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from clawdbot.gateway.adapters.signature import WebhookKey, read_signature
from clawdbot.gateway.main import run
from clawdbot.runtime.bus import Bus
from clawdbot.runtime.config_sections import HealthPorts
from clawdbot.runtime.testing import LocalBus, free_port, local_bus
from clawdbot.schema import subjects
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.messages import Delta, DeltaEnd, InboundMessage, OutboundMessage
from clawdbot.schema.streams import INBOUND

pytestmark = pytest.mark.integration

KEY = WebhookKey(b"a shared secret of the webhook")


class Receiver:
    """Somebody's callback: refuses the first reply, takes the rest."""

    def __init__(self) -> None:
        self.replies: asyncio.Queue[dict[str, object]] = asyncio.Queue()
        self.attempts = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = await reader.readexactly(int(headers["content-length"]))
        self.attempts += 1
        status = "503 Busy" if self.attempts == 1 else "204 Taken"
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
        await writer.drain()
        writer.close()
        if self.attempts > 1:
            KEY.verify(read_signature([(b"x-signature", headers["x-signature"].encode())]), body)
            await self.replies.put(json.loads(body))


class Stack:
    """A gateway on a real broker, and who stands in for the assistant."""

    def __init__(self, local: LocalBus, base_url: str, assistant: Bus, receiver: Receiver) -> None:
        self.local = local
        self.base_url = base_url
        self.assistant = assistant
        self.receiver = receiver

    async def answer(self, message: InboundMessage) -> None:
        deltas = subjects.deltas(message.conversation_id)
        for index, text in enumerate(("hello ", "there")):
            delta = Delta(message_id=message.message_id, index=index, text=text)
            await self.assistant.broadcast(deltas, delta)
        reply = OutboundMessage(
            channel=message.channel,
            tenant=message.tenant,
            conversation_id=message.conversation_id,
            message_id=message.message_id,
            content="hello there",
            reply_to=message.reply_to,
            created_at_ms=message.accepted_at_ms,
        )
        where = subjects.outbound(
            message.channel, message.tenant, message.conversation_id, message.message_id, 0
        )
        await self.assistant.store_once(where, reply, deadline=Deadline.after(5))
        await self.assistant.broadcast(deltas, DeltaEnd(message_id=message.message_id, count=2))

    async def inbound(self, message_id: str = "*") -> InboundMessage:
        subject = f"claw.in.default.*.{message_id}"
        while True:
            kept = await self.assistant.read_last(
                INBOUND, subject, InboundMessage, deadline=Deadline.after(5)
            )
            if kept is not None:
                assert kept.principal is not None
                return kept.message


@pytest_asyncio.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    receiver = Receiver()
    callback = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    callback_url = f"http://127.0.0.1:{callback.sockets[0].getsockname()[1]}/replies"
    port = free_port()
    health_ports = dict.fromkeys(HealthPorts.model_fields, 0) | {"gateway": free_port()}
    sections = {
        "app": {"data_dir": tmp_path, "port": port},
        "ops": {"health_ports": health_ports},
        "platforms": {"webhook": {"callback_url": callback_url}},
    }
    async with callback, local_bus(tmp_path, **sections) as local:
        private = Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        for name, value in {
            "webhook_secret": b"a shared secret of the webhook",
            "reply_key": b"k" * 32,
            "jwt_secret": b"a secret of at least thirty-two bytes",
            "id_key": b"0123456789abcdef",
            "principal_private_key": private,
        }.items():
            (local.secrets.directory / name).write_bytes(value)
        gateway = asyncio.create_task(run(local.config))
        base_url = f"http://127.0.0.1:{port}"
        try:
            await _ready(base_url, gateway)
            async with local.bus("assistant") as assistant:
                yield Stack(local, base_url, assistant, receiver)
        finally:
            gateway.cancel()
            with suppress(asyncio.CancelledError):
                await gateway


async def _ready(base_url: str, gateway: asyncio.Task[None]) -> None:
    async with asyncio.timeout(20), httpx.AsyncClient(base_url=base_url) as client:
        while not gateway.done():
            try:
                if (await client.get("/readyz")).status_code == 200:
                    return
            except httpx.ConnectError:
                continue
    await gateway


async def test_health_and_metrics_have_a_port_of_their_own(stack: Stack) -> None:
    port = stack.local.config.ops.health_ports.gateway
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        ready = await client.get("/readyz")
        metrics = await client.get("/metrics")

    assert (ready.status_code, ready.json()["service"]) == (200, "gateway")
    assert "clawdbot_bus_connected 1.0" in metrics.text


async def test_a_webhook_message_is_kept_once_answered_and_delivered(stack: Stack) -> None:
    body = json.dumps(
        {"sender_id": "user123", "content": "hi", "timestamp": 1, "message_id": "m1"}
    ).encode()
    headers = {"X-Signature": KEY.sign(body)}
    async with httpx.AsyncClient(base_url=stack.base_url) as client:
        first = await client.post("/api/messages", content=body, headers=headers)
        again = await client.post("/api/messages", content=body, headers=headers)
        changed = body.replace(b"hi", b"ho")
        reused = await client.post(
            "/api/messages", content=changed, headers={"X-Signature": KEY.sign(changed)}
        )
        path = first.json()["status_url"]
        seal = {"X-Signature": KEY.sign(path.encode())}
        queued = await client.get(path, headers=seal)
        await stack.answer(await stack.inbound(first.json()["message_id"]))
        answered = await client.get(path, headers=seal)
        async with asyncio.timeout(20):
            delivered = await stack.receiver.replies.get()

    assert [answer.status_code for answer in (first, again, reused)] == [202, 200, 409]
    assert first.json() == again.json()
    assert (queued.json()["state"], answered.json()["state"]) == ("queued", "answered")
    assert answered.json()["reply"]["content"] == "hello there"
    assert (delivered["sender_id"], delivered["sender_message_id"]) == ("user123", "m1")
    assert delivered["content"] == "hello there"
    assert stack.receiver.attempts == 2


async def test_a_chat_streams_and_its_repetition_gets_the_stored_answer(
    stack: Stack, bearer
) -> None:
    question = {"content": "hi", "message_id": "q1", "stream": True}
    async with (
        httpx.AsyncClient(base_url=stack.base_url, headers=bearer()) as client,
        client.stream("POST", "/api/chat", json=question) as streamed,
    ):
        lines = streamed.aiter_lines()
        accepted = [await anext(lines) for _ in range(3)]
        await stack.answer(await stack.inbound(json.loads(accepted[1][6:])["message_id"]))
        names = [line[7:] async for line in lines if line.startswith("event: ")]
        again = await client.post("/api/chat", json={**question, "stream": False})

    assert names == ["delta", "delta", "message"]
    assert (again.status_code, again.json()["content"]) == (200, "hello there")


async def test_a_broker_that_is_gone_is_503_within_the_time_given(stack: Stack) -> None:
    body = b'{"sender_id": "u", "content": "hi", "timestamp": 1}'
    headers = {"X-Signature": KEY.sign(body)}
    async with httpx.AsyncClient(base_url=stack.base_url, timeout=10) as client:
        await stack.local.broker.kill()
        refused = await client.post("/api/messages", content=body, headers=headers)
        await stack.local.broker.start()
        async with asyncio.timeout(20):
            while (await client.get("/readyz")).status_code != 200:
                continue
        accepted = await client.post("/api/messages", content=body, headers=headers)

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert accepted.status_code in {200, 202}
