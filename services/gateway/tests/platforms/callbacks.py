"""Requests of the platforms that share the callbacks' envelope, made as they make them."""

from __future__ import annotations

import hashlib
from urllib.parse import urlencode

from clawdbot.gateway.adapters.platforms.callback_envelope import aes_key, digest, encrypted
from clawdbot.gateway.adapters.platforms.requests import RawRequest
from services.gateway.tests.platforms.samples import PUBLIC_URL

TOKEN = b"hJqcu3uJ9Tn2gXPmxx2w9kkCkqE2EYoT"
AES_KEY = b"6qkdMrq68nTKduznJYO1A37W2oEgpkMUvkttRToqhUt"
NONCE = "1372623149"


def xml(**fields: object) -> bytes:
    """Return a message; fields of `...` are left out."""
    texts = {name: value for name, value in fields.items() if value is not ...}
    lines = "".join(f"<{name}><![CDATA[{value}]]></{name}>" for name, value in texts.items())
    return f"<xml>{lines}</xml>".encode()


def sealed(payload: bytes, receiver: str, key: bytes = AES_KEY) -> str:
    prefix = hashlib.sha256(payload).digest()[:16]
    return encrypted(aes_key(key), payload, receiver.encode(), prefix)


def signed(
    method: str,
    platform: str,
    text: str,
    at: float,
    *,
    token: bytes = TOKEN,
    body: bytes = b"",
    **parameters: str,
) -> RawRequest:
    """Return a request whose query signs `text`."""
    stamp = str(int(at))
    query = {
        "msg_signature": digest(token, stamp, NONCE, text).decode(),
        "timestamp": stamp,
        "nonce": NONCE,
        **parameters,
    }
    return asked(method, platform, query, body)


def asked(method: str, platform: str, query: dict[str, str], body: bytes = b"") -> RawRequest:
    return RawRequest(
        method=method,
        url=f"{PUBLIC_URL}/webhooks/{platform}?{urlencode(query)}",
        query=tuple(query.items()),
        body=body,
    )
