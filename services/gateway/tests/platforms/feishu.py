from __future__ import annotations

import base64
import hashlib
import json

import httpx
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest
from services.gateway.tests.platforms.samples import PUBLIC_URL, Samples

ENCRYPT_KEY = b"an encrypt key for the tests"
TOKEN = b"v7ZDfSPZlC2Rk0jDexampletoken0001"
APP_SECRET = b"dskLLdkasdjlasdKKexamplesecret01"
TENANT_TOKEN = "t-caecc734c2e3328a62489fe0648c4b98779515d3"
NONCE = b"36b8f1c5"
MESSAGE_ID = "om_5ce6d572455d361153b7cb51da133945"
CHAT_ID = "oc_5ce6d572455d361153b7xx51da133945"
SENDER_ID = "ou_84aad35d084aa403a838cf73ee18467"
ACK = HTTPAnswer.of_json({"msg": "success"})


def event(
    content: object = None, kind: str = "text", *, event_id: str = "e1", **changes: object
) -> bytes:
    """Return a message event; `changes` are fields of the message, or `sender_type`, `token`."""
    sender_type = changes.pop("sender_type", "user")
    header = {
        "event_id": event_id,
        "event_type": changes.pop("event_type", "im.message.receive_v1"),
        "create_time": "1700000000123",
        "token": changes.pop("token", TOKEN.decode()),
        "app_id": "cli_1",
        "tenant_key": "736588c9260f175e",
    }
    message = {
        "message_id": MESSAGE_ID,
        "create_time": "1700000000123",
        "chat_id": CHAT_ID,
        "chat_type": "group",
        "message_type": kind,
        "content": json.dumps({"text": "hello"} if content is None else content),
        **changes,
    }
    sender = {
        "sender_id": {"union_id": "on_8ed6", "open_id": SENDER_ID},
        "sender_type": sender_type,
        "tenant_key": "736588c9260f175e",
    }
    told = {"schema": "2.0", "header": header, "event": {"sender": sender, "message": message}}
    return json.dumps(told).encode()


def challenge(token: str = TOKEN.decode()) -> bytes:
    told = {"challenge": "ajls384kdjx98XX", "token": token, "type": "url_verification"}
    return json.dumps(told).encode()


def encrypted(payload: bytes, key: bytes = ENCRYPT_KEY) -> bytes:
    iv = hashlib.sha256(payload).digest()[:16]
    padder = PKCS7(128).padder()
    padded = padder.update(payload) + padder.finalize()
    cipher = Cipher(AES(hashlib.sha256(key).digest()), CBC(iv)).encryptor()
    data = iv + cipher.update(padded) + cipher.finalize()
    return json.dumps({"encrypt": base64.b64encode(data).decode()}).encode()


def unsigned(body: bytes) -> RawRequest:
    return RawRequest("POST", f"{PUBLIC_URL}/webhooks/feishu", body=body)


def signed(body: bytes, at: float, key: bytes = ENCRYPT_KEY) -> RawRequest:
    stamp = str(int(at)).encode()
    signature = hashlib.sha256(stamp + NONCE + key + body).hexdigest().encode()
    return RawRequest(
        method="POST",
        url=f"{PUBLIC_URL}/webhooks/feishu",
        headers=(
            (b"x-lark-request-timestamp", stamp),
            (b"x-lark-request-nonce", NONCE),
            (b"x-lark-signature", signature),
        ),
        body=body,
    )


def request(payload: bytes, at: float) -> RawRequest:
    return signed(encrypted(payload), at)


def api(called: httpx.Request) -> httpx.Response:
    if called.url.path.endswith("/tenant_access_token/internal"):
        told = {"code": 0, "tenant_access_token": TENANT_TOKEN, "expire": 7200}
        return httpx.Response(200, json=told)
    return httpx.Response(200, json={"code": 0, "data": {"message_id": "om_sent"}})


ANSWERED = HTTPAnswer.of_json({"challenge": "ajls384kdjx98XX"})


def pressed(value: str, **changes: object) -> bytes:
    """Return the event of a press on the card that answers `message`."""
    header = {
        "event_id": "f7984f25108f8137722bb63ceexample",
        "event_type": "card.action.trigger",
        "create_time": "1700000000123456",
        "token": TOKEN.decode(),
        "app_id": "cli_1",
        "tenant_key": "736588c9260f175e",
    }
    event = {
        "operator": {"open_id": SENDER_ID, "union_id": "on_8ed6", "tenant_key": "736588c9"},
        "token": "c-295ee57216a5dc9de90fefd0aadb4b1d7dexample",
        "action": {"value": {"say": value}, "tag": "button"},
        "host": "im_message",
        "context": {"open_message_id": "om_sent", "open_chat_id": CHAT_ID},
        **changes,
    }
    return json.dumps({"schema": "2.0", "header": header, "event": event}).encode()


SAMPLES = Samples(
    platform="feishu",
    pressed=pressed,
    settings={"app_id": "cli_1"},
    secrets={
        "encrypt_key": ENCRYPT_KEY,
        "verification_token": TOKEN,
        "app_secret": APP_SECRET,
    },
    request=request,
    message=event(),
    redelivered=event(event_id="e2"),
    sender_id=SENDER_ID,
    content="hello",
    ack=ACK,
    api=api,
    destination=MESSAGE_ID,
    traits=(True, True),
    ignored=(
        event(sender_type="app"),
        event(sender_type="bot"),
        event(event_type="im.message.message_read_v1"),
        event({"file_key": "k"}, "sticker"),
        event({"content": "Merged and Forwarded Message"}, "merge_forward"),
    ),
    handshakes=(
        (lambda _: unsigned(encrypted(challenge())), ANSWERED),
        (lambda _: unsigned(challenge()), ANSWERED),
        (lambda at: request(challenge(), at), ANSWERED),
    ),
    signature_headers=("x-lark-signature", "x-lark-request-timestamp", "x-lark-request-nonce"),
    reads_unsigned=True,
    window_s=3600,
)
