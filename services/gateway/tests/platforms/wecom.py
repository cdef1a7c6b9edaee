from __future__ import annotations

import httpx

from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest
from services.gateway.tests.platforms.callbacks import AES_KEY, TOKEN, sealed, signed, xml
from services.gateway.tests.platforms.samples import Samples

CORP_ID, AGENT_ID, USER = "ww1234567890abcdef", 1_000_002, "zhangsan"
CORP_SECRET = b"9cTgcYzUwIoWnNA5bAtjuvBbsGhQ-LbjdnM3lqTbRe0"
ACCESS_TOKEN = "accesstoken000001"
ECHO = "1616140317555161061"


def message(**changes: object) -> bytes:
    """Return a member's message; changes of `...` leave a field out."""
    fields = {
        "ToUserName": CORP_ID,
        "FromUserName": USER,
        "CreateTime": 1_699_999_990,
        "MsgType": "text",
        "Content": "hello",
        "MsgId": "7112345678901234567",
        "AgentID": AGENT_ID,
    }
    return xml(**{**fields, **changes})


def event(name: str, **changes: object) -> bytes:
    return message(MsgType="event", Event=name, Content=..., MsgId=..., **changes)


def request(payload: bytes, at: float, **changes: bytes) -> RawRequest:
    """Return `payload` as WeCom posts it; `key`, `token` and `receiver` may be others."""
    receiver = changes.get("receiver", CORP_ID.encode()).decode()
    text = sealed(payload, receiver, changes.get("key", AES_KEY))
    body = xml(ToUserName=CORP_ID, AgentID=AGENT_ID, Encrypt=text)
    return signed("POST", "wecom", text, at, token=changes.get("token", TOKEN), body=body)


def question(payload: bytes, at: float) -> RawRequest:
    text = sealed(payload, CORP_ID)
    return signed("GET", "wecom", text, at, echostr=text)


def api(called: httpx.Request) -> httpx.Response:
    if called.url.path == "/cgi-bin/gettoken":
        told = {"errcode": 0, "errmsg": "ok", "access_token": ACCESS_TOKEN, "expires_in": 7200}
        return httpx.Response(200, json=told)
    return httpx.Response(200, json={"errcode": 0, "errmsg": "ok", "msgid": "sent1"})


SAMPLES = Samples(
    platform="wecom",
    settings={"corp_id": CORP_ID, "agent_id": AGENT_ID},
    secrets={"token": TOKEN, "encoding_aes_key": AES_KEY, "corp_secret": CORP_SECRET},
    request=request,
    message=message(),
    sender_id=USER,
    content="hello",
    ack=HTTPAnswer(),
    api=api,
    destination=f'"touser": "{USER}"',
    traits=(False, False),
    ignored=(
        event("enter_agent", EventKey=""),
        event("subscribe"),
        event("LOCATION", Latitude="23.1", Longitude="113.3"),
        message(MsgType="emoji"),
    ),
    handshakes=((lambda at: question(ECHO.encode(), at), HTTPAnswer(body=ECHO.encode())),),
    signature_parameters=("msg_signature", "timestamp", "nonce"),
    window_s=3600,
)
