from __future__ import annotations

import json
import time
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest
from services.gateway.tests.platforms.samples import PUBLIC_URL, Samples

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC_KEY = KEY.public_key().public_bytes_raw().hex()
BOT_TOKEN = "MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ." + "Z" * 38
APPLICATION, CHANNEL, SENDER = "1234560123453231555", "645027906669510667", "53908232506183680"
TOKEN = "A_UNIQUE_TOKEN"
EPOCH_MS = 1_420_070_400_000


def snowflake(at: float) -> str:
    return str((int(at * 1000) - EPOCH_MS) << 22 | 7)


# Replies go another way after 15 minutes, and the contract test has no other clock for them.
NOW_ID = snowflake(time.time())


def option(name: str, kind: int, value: object) -> dict[str, object]:
    return {"name": name, "type": kind, "value": value}


def interaction(*options: object, **changes: Any) -> dict[str, Any]:
    """As in Discord's example of a slash command, which asks for a card."""
    data = {"id": "771825006014889984", "name": "ask", "type": 1, "options": list(options)}
    user = {"id": SENDER, "username": "mason", "global_name": "Mason", "avatar": None}
    return {
        "type": 2,
        "id": NOW_ID,
        "application_id": APPLICATION,
        "token": TOKEN,
        "version": 1,
        "guild_id": "290926798626357999",
        "channel_id": CHANNEL,
        "channel": {"id": CHANNEL, "type": 0},
        "member": {"user": user, "roles": [], "deaf": False},
        **changes,
        "data": {**data, **changes.get("data", {})},
    }


def payload(*options: object, **changes: Any) -> bytes:
    return json.dumps(interaction(*options, **changes)).encode()


def request(body: bytes, at: float, key: Ed25519PrivateKey = KEY) -> RawRequest:
    stamp = str(int(at)).encode()
    return RawRequest(
        method="POST",
        url=f"{PUBLIC_URL}/webhooks/discord",
        headers=(
            (b"x-signature-ed25519", key.sign(stamp + body).hex().encode()),
            (b"x-signature-timestamp", stamp),
        ),
        body=body,
    )


def event(kind: int, **fields: object) -> bytes:
    about = {"version": 1, "application_id": APPLICATION, "type": kind}
    return json.dumps({**about, **fields}).encode()


def handshake(body: bytes, answer: HTTPAnswer) -> tuple[Any, HTTPAnswer]:
    return (lambda at: request(body, at)), answer


AUTHORIZED = {"type": "APPLICATION_AUTHORIZED", "timestamp": "2024-10-18T14:42:53.064834"}
A_BOT = {"user": {"id": SENDER, "username": "other", "bot": True}}


def pressed(value: str, **changes: object) -> bytes:
    # Pressed a moment later.
    told = interaction(type=3, **{"id": str(int(NOW_ID) + (1 << 22)), **changes})
    return json.dumps({**told, "data": {"custom_id": value, "component_type": 2}}).encode()


SAMPLES = Samples(
    platform="discord",
    pressed=pressed,
    secrets={"public_key": PUBLIC_KEY.encode(), "bot_token": BOT_TOKEN.encode()},
    request=request,
    message=payload(option("question", 3, "hello")),
    sender_id=SENDER,
    content="hello",
    ack=HTTPAnswer.of_json({"type": 5}),
    destination=f"/webhooks/{APPLICATION}/{TOKEN}/",
    traits=(True, True),
    api=lambda _: httpx.Response(200, json={"id": "1100000000000000001"}),
    ignored=(
        payload(option("question", 3, "hi"), member=A_BOT),
        payload(type=3, data={"custom_id": "a", "component_type": 2}),
        payload(type=4),
        payload(type=5, data={"custom_id": "a", "components": []}),
        payload(type=99),
        event(1, event=AUTHORIZED),
    ),
    handshakes=(
        handshake(payload(type=1, data={}), HTTPAnswer.of_json({"type": 1})),
        handshake(event(0), HTTPAnswer(204)),
        handshake(event(1, event=AUTHORIZED), HTTPAnswer(204)),
        handshake(payload(type=3), HTTPAnswer.of_json({"type": 6})),
        handshake(payload(type=5), HTTPAnswer.of_json({"type": 6})),
        handshake(payload(type=4), HTTPAnswer.of_json({"type": 8, "data": {"choices": []}})),
    ),
    signature_headers=("x-signature-ed25519", "x-signature-timestamp"),
    window_s=3600,
    failure_status=200,
)
