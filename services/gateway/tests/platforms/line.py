from __future__ import annotations

import base64
import hashlib
import hmac
import json

import httpx

from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest
from services.gateway.tests.platforms.samples import NOW, PUBLIC_URL, Samples

SECRET = b"8c570fa6dd201bb328f1c1eac23a96d8"
"""The one that the documentation shows; it belongs to nobody."""
TOKEN = b"not-a-real-channel-access-token-of-anybody/1O/w1cDnyilFU="
US = "U8e742f61d673b39c7fff3cecb7536ef0"
USER, GROUP = "U4af4980629aa11bbccddeeff00112233", "Ca56f94637caabbccddeeff0011223344"
DIRECT = {"type": "user", "userId": USER}
IN_GROUP = {"type": "group", "groupId": GROUP, "userId": USER}
AT_MS = int(NOW * 1000) - 10_000


def text(said: str = "hello", **changes: object) -> dict[str, object]:
    return {"id": "468789577898262530", "type": "text", "quoteToken": "q3Plxr4", "text": said} | (
        changes
    )


def event(**changes: object) -> dict[str, object]:
    """Return an event; None takes a field away."""
    fields: dict[str, object] = {
        "type": "message",
        "mode": "active",
        "timestamp": AT_MS,
        "source": DIRECT,
        "webhookEventId": "01FZ74A0TDDPYRVKNK77XKC3ZR",
        "deliveryContext": {"isRedelivery": False},
        "replyToken": "nHuyWiB7yP5Zw52FIkcQobQuGDXCTA",
        "message": text(),
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not None}


def body(*events: object) -> bytes:
    return json.dumps({"destination": US, "events": events}).encode()


def signature(payload: bytes, secret: bytes = SECRET) -> bytes:
    return base64.b64encode(hmac.new(secret, payload, hashlib.sha256).digest())


def request(payload: bytes, at: float = 0.0, secret: bytes = SECRET) -> RawRequest:
    return RawRequest(
        method="POST",
        url=f"{PUBLIC_URL}/webhooks/line",
        headers=((b"x-line-signature", signature(payload, secret)),),
        body=payload,
    )


def sent(_: httpx.Request) -> httpx.Response:
    found = {"id": "461230966842064897", "quoteToken": "IStG5h1Tz7b"}
    return httpx.Response(200, json={"sentMessages": [found]})


def pressed(value: str) -> bytes:
    told = {"data": value}
    press = event(type="postback", message=None, postback=told, webhookEventId="01FZ74PRESS")
    return body(press)


MENTION_OF_OTHERS = {"mentionees": [{"index": 0, "length": 4, "type": "user", "userId": "Uelse"}]}

SAMPLES = Samples(
    platform="line",
    pressed=pressed,
    secrets={"channel_secret": SECRET, "channel_access_token": TOKEN},
    request=request,
    message=body(event()),
    sender_id=USER,
    content="hello",
    ack=HTTPAnswer(),
    api=sent,
    destination=f'"to": "{USER}"',
    # The message is years old by now, and so is its reply token.
    traits=(True, False),
    redelivered=body(event(deliveryContext={"isRedelivery": True})),
    ignored=(
        body(event(type="follow", message=None, follow={"isUnblocked": False})),
        body(event(type="unsend", message=None, unsend={"messageId": "325708"}, replyToken=None)),
        body(event(type="join", message=None, source=IN_GROUP)),
        body(event(type="somethingNew")),
        body(event(mode="standby", replyToken=None)),
        body(event(source={"type": "user", "userId": US})),
        body(event(source={"type": "group", "groupId": GROUP}, message=text("/stop"))),
        body(event(source=IN_GROUP)),
        body(event(source=IN_GROUP, message=text("@Ada hi", mention=MENTION_OF_OTHERS))),
        body(event(message={"id": "1", "type": "sticker", "packageId": "446", "stickerId": "1"})),
        body(event(message=text(" "))),
        body(event(message=None, postback={"data": "storeId=1"}, type="postback")),
    ),
    handshakes=((lambda _: request(body()), HTTPAnswer()),),
    signature_headers=("x-line-signature",),
)
