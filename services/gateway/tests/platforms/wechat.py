from __future__ import annotations

import httpx

from clawdbot.gateway.adapters.platforms.callback_envelope import digest
from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest
from services.gateway.tests.platforms.callbacks import (
    AES_KEY,
    NONCE,
    TOKEN,
    asked,
    sealed,
    signed,
    xml,
)
from services.gateway.tests.platforms.samples import Samples

APP_ID, ACCOUNT, OPENID = "wx5823bf96d3bd56c7", "gh_848b8d1809b5", "otDwO5EckxVWz0ItSW8XeWxknXAk"
APP_SECRET = b"9e107d9d372bb6826bd81d3542a419d6"
ACCESS_TOKEN = "36_2mBXFdrKG0Yfv7JtrlNcLwGBtBs7Hfwd1T80JDjRHU5v"
ECHO = "5927782489442352469"


def message(**changes: object) -> bytes:
    """Return a follower's message; changes of `...` leave a field out."""
    fields = {
        "ToUserName": ACCOUNT,
        "FromUserName": OPENID,
        "CreateTime": 1_699_999_990,
        "MsgType": "text",
        "Content": "hello",
        "MsgId": "22876340532172986",
    }
    return xml(**{**fields, **changes})


def event(name: str, **changes: object) -> bytes:
    return message(MsgType="event", Event=name, Content=..., MsgId=..., **changes)


def plain_signature(at: float) -> dict[str, str]:
    """Return the parameters that every request has, and that sign no body."""
    stamp = str(int(at))
    signature = digest(TOKEN, stamp, NONCE).decode()
    return {"signature": signature, "timestamp": stamp, "nonce": NONCE}


def request(payload: bytes, at: float, **changes: bytes) -> RawRequest:
    """Return `payload` as WeChat posts it; `key`, `token` and `receiver` may be others."""
    receiver = changes.get("receiver", APP_ID.encode()).decode()
    text = sealed(payload, receiver, changes.get("key", AES_KEY))
    body = xml(ToUserName=ACCOUNT, Encrypt=text)
    parameters = {**plain_signature(at), "openid": OPENID, "encrypt_type": "aes"}
    token = changes.get("token", TOKEN)
    return signed("POST", "wechat", text, at, token=token, body=body, **parameters)


def question(at: float, echo: str = ECHO) -> RawRequest:
    return asked("GET", "wechat", {**plain_signature(at), "echostr": echo})


def api(called: httpx.Request) -> httpx.Response:
    if called.url.path == "/cgi-bin/stable_token":
        return httpx.Response(200, json={"access_token": ACCESS_TOKEN, "expires_in": 7200})
    return httpx.Response(200, json={"errcode": 0, "errmsg": "ok"})


SAMPLES = Samples(
    platform="wechat",
    settings={"app_id": APP_ID},
    secrets={"token": TOKEN, "encoding_aes_key": AES_KEY, "app_secret": APP_SECRET},
    request=request,
    message=message(),
    sender_id=OPENID,
    content="hello",
    ack=HTTPAnswer(body=b"success"),
    api=api,
    destination=f'"touser": "{OPENID}"',
    traits=(False, False),
    ignored=(
        event("subscribe"),
        event("CLICK", EventKey="menu"),
        event("LOCATION", Latitude="23.1", Longitude="113.3", Precision="1"),
        message(MsgType="sticker"),
    ),
    handshakes=((question, HTTPAnswer(body=ECHO.encode())),),
    signature_parameters=("msg_signature", "timestamp", "nonce"),
    window_s=3600,
)
