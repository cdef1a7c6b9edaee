from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import httpx

from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest
from services.gateway.tests.platforms.samples import PUBLIC_URL, Samples

TOKEN = base64.b64encode(b"a made-up key of thirty-two byte")
REPLY_URL = b"https://flows.example/workflows/abc?sig=a-secret-signature"
THREAD = "19:253b1f341670408fb6fe51050b6e5ceb@thread.skype;messageid=1485983194839"
PERSON = {"id": "29:1XJKJMvc5GBtc2JwZq0oj8tHZmzrQgFmB25ATiQWA85g", "name": "Ada"}
AAD = "aad0b1c2-1111-2222-3333-444455556666"


def activity(**changes: object) -> dict[str, Any]:
    told = {
        "type": "message",
        "id": "1485983408511",
        "timestamp": "2023-11-14T22:13:10.1230000Z",
        "serviceUrl": "https://smba.trafficmanager.net/emea/",
        "channelId": "msteams",
        "from": {**PERSON, "aadObjectId": AAD},
        "conversation": {"isGroup": True, "conversationType": "channel", "id": THREAD},
        "text": "<at>Claw</at>&nbsp;hello\n",
        "textFormat": "plain",
        "attachments": [{"contentType": "text/html", "content": "<div>hello</div>"}],
        **changes,
    }
    return {name: value for name, value in told.items() if value is not ...}


def message(**changes: object) -> bytes:
    return json.dumps(activity(**changes)).encode()


def request(body: bytes, at: float = 0.0, token: bytes = TOKEN) -> RawRequest:
    digest = hmac.new(base64.b64decode(token), body, hashlib.sha256).digest()
    return RawRequest(
        method="POST",
        url=f"{PUBLIC_URL}/webhooks/teams",
        headers=((b"authorization", b"HMAC " + base64.b64encode(digest)),),
        body=body,
    )


SAMPLES = Samples(
    platform="teams",
    secrets={"security_token": TOKEN, "reply_url": REPLY_URL},
    request=request,
    message=message(),
    sender_id=AAD,
    content="hello",
    ack=HTTPAnswer.of_json(
        {"type": "message", "text": "Got it. The answer comes to this channel."}
    ),
    api=lambda _: httpx.Response(202),
    destination="https://flows.example/workflows/abc",
    traits=(False, False),
    ignored=(
        message(type="conversationUpdate"),
        message(**{"from": {**PERSON, "role": "bot"}}),
        message(text="<at>Claw</at> "),
    ),
    signature_headers=("authorization",),
    failure_status=200,
)
