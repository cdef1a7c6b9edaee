from __future__ import annotations

import base64
import hashlib
import hmac
import json

import httpx

from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest
from services.gateway.tests.platforms.samples import PUBLIC_URL, Samples

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEY = base64.b64decode(SECRET.removeprefix("whsec_"))
EVENT_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"


def payload(**changes: object) -> bytes:
    data = {"sender_id": "u1", "content": "hello", **changes}
    event = {"type": "message.created", "timestamp": "2023-11-14T22:13:20Z", "data": data}
    return json.dumps(event).encode()


def request(body: bytes, at: float, event_id: str = EVENT_ID) -> RawRequest:
    stamp = str(int(at))
    digest = hmac.digest(KEY, f"{event_id}.{stamp}.".encode() + body, hashlib.sha256)
    return RawRequest(
        method="POST",
        url=f"{PUBLIC_URL}/webhooks/standard_webhooks",
        headers=(
            (b"webhook-id", event_id.encode()),
            (b"webhook-timestamp", stamp.encode()),
            (b"webhook-signature", b"v1," + base64.b64encode(digest)),
        ),
        body=body,
    )


SAMPLES = Samples(
    platform="standard_webhooks",
    settings={"callback_url": "https://receiver.example/replies"},
    secrets={"secret": SECRET.encode()},
    request=request,
    message=payload(),
    sender_id="u1",
    content="hello",
    ack=HTTPAnswer(),
    destination=EVENT_ID,
    traits=(True, False),
    api=lambda _: httpx.Response(204),
    ignored=(json.dumps({"type": "user.created", "timestamp": "x", "data": {}}).encode(),),
    signature_headers=("webhook-id", "webhook-timestamp", "webhook-signature"),
    window_s=300,
    garbage_status=frozenset({400, 422}),
)
