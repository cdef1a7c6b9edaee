from __future__ import annotations

import hashlib
import hmac
import json
from urllib.parse import parse_qsl, urlencode

import httpx

from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest
from services.gateway.tests.platforms.samples import NOW, PUBLIC_URL, Samples

SECRET = b"0123456789abcdef0123456789abcdef"
VERIFY_TOKEN = b"a verify token that we made up"
TOKEN = b"EAAJnotARealAccessTokenOfAnybodyZDZD"
NUMBER, PHONE, PERSON = "106540352242922", "16505551234", "US.13491208655302741918"
MESSAGE_ID = "wamid.HBgLMTY1MDU1NTEyMzQVAgASGBQzQTRBNjU5OUFFRTAzODEwMTQ0RgA="


def said(**changes: object) -> dict[str, object]:
    """Return a message; None takes a field away."""
    fields: dict[str, object] = {
        "from": PHONE,
        "from_user_id": PERSON,
        "id": MESSAGE_ID,
        "timestamp": str(int(NOW) - 10),
        "type": "text",
        "text": {"body": "hello"},
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not None}


def value(*messages: object, **changes: object) -> dict[str, object]:
    about = {"display_phone_number": "15550783881", "phone_number_id": NUMBER}
    contact = {"profile": {"name": "Ada"}, "wa_id": PHONE, "user_id": PERSON}
    return {
        "messaging_product": "whatsapp",
        "metadata": about,
        "contacts": [contact],
        "messages": messages,
        **changes,
    }


def body(*values: object, field: str = "messages") -> bytes:
    changes = [{"value": one, "field": field} for one in values]
    entry = {"id": "102290129340398", "changes": changes}
    told = {"object": "whatsapp_business_account", "entry": [entry]}
    # Meta escapes the slash too.
    return json.dumps(told).replace("/", "\\/").encode()


def one(**changes: object) -> bytes:
    return body(value(said(**changes)))


def signature(payload: bytes, secret: bytes = SECRET) -> bytes:
    return b"sha256=" + hmac.new(secret, payload, hashlib.sha256).hexdigest().encode()


def request(payload: bytes, at: float = 0.0, secret: bytes = SECRET) -> RawRequest:
    return RawRequest(
        method="POST",
        url=f"{PUBLIC_URL}/webhooks/whatsapp",
        headers=((b"x-hub-signature-256", signature(payload, secret)),),
        body=payload,
    )


def question(token: bytes = VERIFY_TOKEN, **changes: str) -> RawRequest:
    asked = {
        "hub.mode": "subscribe",
        "hub.challenge": "1158201444",
        "hub.verify_token": token.decode(),
        **changes,
    }
    query = urlencode(asked)
    url = f"{PUBLIC_URL}/webhooks/whatsapp?{query}"
    return RawRequest("GET", url, tuple(parse_qsl(query, keep_blank_values=True)))


def sent(_: httpx.Request) -> httpx.Response:
    told = {"messaging_product": "whatsapp", "messages": [{"id": "wamid.HBgLMTY1MDU1"}]}
    return httpx.Response(200, json=told)


def pressed(chosen: str) -> bytes:
    reply = {"type": "button_reply", "button_reply": {"id": chosen, "title": "Approve"}}
    about = {"from": "15550783881", "id": "wamid.asked"}
    return one(id="wamid.press", type="interactive", interactive=reply, context=about, text=None)


def failed(code: int) -> bytes:
    fault = {"code": code, "title": "Re-engagement message"}
    status = {"id": "wamid.x", "status": "failed", "timestamp": "1700000000", "errors": [fault]}
    return body(value(statuses=[status]))


SAMPLES = Samples(
    platform="whatsapp",
    pressed=pressed,
    secrets={"app_secret": SECRET, "verify_token": VERIFY_TOKEN, "access_token": TOKEN},
    request=request,
    message=one(),
    sender_id=PERSON,
    content="hello",
    ack=HTTPAnswer(),
    api=sent,
    destination=f'"to": "{PHONE}"',
    traits=(False, False),
    ignored=(
        body(value(statuses=[{"id": "wamid.x", "status": "delivered", "recipient_id": PHONE}])),
        failed(131047),
        one(type="reaction", text=None, reaction={"message_id": "wamid.x", "emoji": "👍"}),
        one(type="sticker", text=None, sticker={"id": "1", "mime_type": "image/webp"}),
        one(type="unsupported", text=None, errors=[{"code": 131051}]),
        one(type="interactive", text=None, interactive={"type": "list_reply"}),
        one(text={"body": " "}),
        one(group_id="Y2FwaV9ncm91cDox"),
        body({"event": "APPROVED"}, field="message_template_status_update"),
        json.dumps({"object": "page", "entry": []}).encode(),
    ),
    handshakes=((lambda _: question(), HTTPAnswer(body=b"1158201444")),),
    signature_headers=("x-hub-signature-256",),
)
