from __future__ import annotations

import json
from functools import cache
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest
from clawdbot.schema.tokens import public_jwk
from services.gateway.tests.platforms.samples import PUBLIC_URL, Samples

APP_ID = "11111111-2222-3333-4444-555555555555"
PASSWORD = b"a made-up client secret of the bot"
SERVICE_URL = "https://smba.trafficmanager.net/emea/"
THREAD = "19:253b1f341670408fb6fe51050b6e5ceb@thread.skype;messageid=1485983194839"
AAD = "aad0b1c2-1111-2222-3333-444455556666"
PERSON, OWN = "29:1XJKJMvc5GBtc2JwZq0oj8tHZmzrQgFmB25ATiQWA85g", f"28:{APP_ID}"
KEY_ID, SENT = "the-key-of-microsoft", "1:sent"
ACCESS_TOKEN = "an-access-token-of-the-bot"


@cache
def key(which: int = 0) -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


def activity(**changes: object) -> dict[str, Any]:
    told = {
        "type": "message",
        "id": "1485983408511",
        "timestamp": "2023-11-14T22:13:10.123Z",
        "serviceUrl": SERVICE_URL,
        "channelId": "msteams",
        "from": {"id": PERSON, "name": "Ada", "aadObjectId": AAD},
        "conversation": {"isGroup": True, "conversationType": "channel", "id": THREAD},
        "recipient": {"id": OWN, "name": "Claw"},
        "text": "<at>Claw</at> hello",
        "attachments": [{"contentType": "text/html", "content": "<div>hello</div>"}],
        **changes,
    }
    return {name: value for name, value in told.items() if value is not ...}


def message(**changes: object) -> bytes:
    return json.dumps(activity(**changes)).encode()


def token(at: float, *, signer: RSAPrivateKey | None = None, **changes: object) -> str:
    claims = {
        "iss": "https://api.botframework.com",
        "aud": APP_ID,
        "nbf": int(at) - 10,
        "exp": int(at) + 3600,
        "serviceurl": SERVICE_URL,
        **changes,
    }
    given = {name: value for name, value in claims.items() if value is not ...}
    return jwt.encode(given, signer or key(), algorithm="RS256", headers={"kid": KEY_ID})


def bearing(body: bytes, value: str) -> RawRequest:
    return RawRequest(
        method="POST",
        url=f"{PUBLIC_URL}/webhooks/botframework",
        headers=((b"authorization", f"Bearer {value}".encode()),),
        body=body,
    )


def request(body: bytes, at: float) -> RawRequest:
    # Of the last character of a signature not every bit counts: one whose change is seen.
    tokens = (token(at, jti=str(number)) for number in range(1000))
    return bearing(body, next(each for each in tokens if each[-2] not in "01"))


def key_set(*endorsements: str) -> dict[str, Any]:
    own = {**public_jwk(key().public_key()), "kid": KEY_ID}
    return {"keys": [{**own, "endorsements": list(endorsements)}]}


def api(request: httpx.Request) -> httpx.Response:
    if request.url.path == "/v1/.well-known/keys":
        body = json.dumps(key_set("msteams", "webchat")).encode()
        # Unread, as from the network.
        return httpx.Response(200, stream=httpx.ByteStream(body))
    if request.url.host == "login.microsoftonline.com":
        told = {"token_type": "Bearer", "expires_in": 3599, "access_token": ACCESS_TOKEN}
        return httpx.Response(200, json=told)
    return httpx.Response(201, json={"id": SENT})


SAMPLES = Samples(
    platform="botframework",
    secrets={"app_password": PASSWORD},
    settings={"app_id": APP_ID},
    request=request,
    message=message(),
    sender_id=AAD,
    content="hello",
    ack=HTTPAnswer(),
    api=api,
    destination=f'"conversation": {{"id": "{THREAD}"}}',
    traits=(False, True),
    ignored=(
        message(type="conversationUpdate", text=...),
        message(type="invoke", name="adaptiveCard/action"),
        message(**{"from": {"id": PERSON, "role": "bot"}}),
        message(**{"from": {"id": OWN}}),
        message(text="<at>Claw</at> "),
    ),
    signature_headers=("authorization",),
    keys_url="https://login.botframework.com/v1/.well-known/keys",
)
