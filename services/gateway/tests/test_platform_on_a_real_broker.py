from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from clawdbot.gateway.main import run
from clawdbot.runtime.bus import Bus
from clawdbot.runtime.testing import free_port, local_bus
from clawdbot.schema import subjects
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.messages import InboundMessage, OutboundMessage
from clawdbot.schema.streams import INBOUND
from services.gateway.tests.platforms.standard_webhooks import EVENT_ID, SECRET, payload, request

pytestmark = pytest.mark.integration


class Receiver:
    """Somebody's endpoint for replies: busy at the first, then takes them."""

    def __init__(self) -> None:
        self.seen: asyncio.Queue[tuple[dict[str, str], bytes]] = asyncio.Queue()
        self.attempts = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = await reader.readexactly(int(headers["content-length"]))
        self.attempts += 1
        status = "503 Busy" if self.attempts == 2 else "204 Taken"
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
        await writer.drain()
        writer.close()
        if self.attempts != 2:
            await self.seen.put((headers, body))


async def posted(url: str) -> None:
    raw = request(payload(), time.time())
    async with httpx.AsyncClient(base_url=url) as client:
        async with asyncio.timeout(20):
            while not await _is_ready(client):
                continue
        for _ in range(2):
            answer = await client.post(
                "/webhooks/standard_webhooks", content=raw.body, headers=list(raw.headers)
            )
            assert answer.status_code == 200


async def _is_ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx.ConnectError:
        return False


async def answered(assistant: Bus, content: str) -> None:
    everything = "claw.in.default.*.*"
    kept = await assistant.read_last(
        INBOUND, everything, InboundMessage, deadline=Deadline.after(5)
    )
    assert kept is not None
    message = kept.message
    reply = OutboundMessage(
        **message.model_dump(include={"channel", "tenant", "conversation_id", "message_id"}),
        content=content,
        reply_to=message.reply_to,
        created_at_ms=message.accepted_at_ms,
    )
    ids = (message.channel, message.tenant, message.conversation_id, message.message_id)
    subject = subjects.outbound(*ids, 0)
    await assistant.store_once(subject, reply, deadline=Deadline.after(5))


async def test_a_signed_message_is_answered_in_parts_each_taken_once(tmp_path: Path) -> None:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    callback_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/replies"
    port = free_port()
    sections = {
        "app": {"data_dir": tmp_path, "port": port},
        "platforms": {
            "webhook": {"enabled": False},
            "standard_webhooks": {"accounts": {"default": {"callback_url": callback_url}}},
        },
    }
    async with server, local_bus(tmp_path, **sections) as local:
        private = Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        for name, value in {
            "standard_webhooks_default_secret": SECRET.encode(),
            "reply_key": b"k" * 32,
            "jwt_secret": b"a secret of at least thirty-two bytes",
            "id_key": b"0123456789abcdef",
            "principal_private_key": private,
        }.items():
            (local.secrets.directory / name).write_bytes(value)
        gateway = asyncio.create_task(run(local.config))
        try:
            await posted(f"http://127.0.0.1:{port}")
            async with local.bus("assistant") as assistant:
                await answered(assistant, "a" * 50_000 + "\n\n" + "b" * 50_000)
            async with asyncio.timeout(20):
                parts = [await receiver.seen.get() for _ in range(2)]
        finally:
            gateway.cancel()
            with suppress(asyncio.CancelledError):
                await gateway

    told = [json.loads(body)["data"] for _, body in parts]
    assert [part["content"] for part in told] == ["a" * 50_000, "b" * 50_000]
    assert [part["is_final"] for part in told] == [False, True]
    assert {part["in_reply_to"] for part in told} == {EVENT_ID}
    assert receiver.attempts == 3
