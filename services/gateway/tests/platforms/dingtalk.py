from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import httpx

from clawdbot.gateway.adapters.platforms.callback_envelope import Envelope, digest
from clawdbot.gateway.adapters.platforms.dingtalk import sign_of
from clawdbot.gateway.adapters.platforms.keys import Keys
from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest
from services.gateway.tests.platforms.callbacks import AES_KEY, NONCE, TOKEN, asked, sealed
from services.gateway.tests.platforms.samples import NOW, PUBLIC_URL, Samples

APP_KEY, STAFF, ROBOT = "dingabcdef0123456789", "user123", "$:LWCP_v1:$Crobot"
APP_SECRET = b"KmFnHcqPsW2gFZm0n6zVexampleAppSecret0123456789"
CONVERSATION, SESSION = "cidEbaHtqOHz5Q==", "b4f6c1a5e3d2"
WEBHOOK = f"https://oapi.dingtalk.com/robot/sendBySession?session={SESSION}"
FAR_FUTURE_MS = 4_102_444_800_000
ACCESS_TOKEN = "fw8ef8we8f76e6f7s8dxxxx"


def message(**changes: Any) -> bytes:
    """Return what one person says in a group; changes of `...` leave a field out."""
    told = {
        "conversationId": CONVERSATION,
        "atUsers": [{"dingtalkId": ROBOT}],
        "chatbotCorpId": "dinge8a565xxxx",
        "chatbotUserId": ROBOT,
        "msgId": "msg0xxxxx",
        "senderNick": "Yang",
        "isAdmin": True,
        "senderStaffId": STAFF,
        "sessionWebhookExpiredTime": FAR_FUTURE_MS,
        "createAt": 1_699_999_990_678,
        "senderCorpId": "dinge8a565xxxx",
        "conversationType": "2",
        "senderId": "$:LWCP_v1:$Ff09GIxxxxx",
        "conversationTitle": "robots",
        "isInAtList": True,
        "sessionWebhook": WEBHOOK,
        "text": {"content": " hello"},
        "robotCode": APP_KEY,
        "msgtype": "text",
        **changes,
    }
    return json.dumps({name: value for name, value in told.items() if value is not ...}).encode()


def request(body: bytes, at: float, secret: bytes = APP_SECRET) -> RawRequest:
    stamp = str(int(at * 1000)).encode()
    headers = ((b"timestamp", stamp), (b"sign", sign_of(secret, stamp)))
    return RawRequest("POST", f"{PUBLIC_URL}/webhooks/dingtalk", headers=headers, body=body)


def event(payload: bytes, at: float, *, name: str = "msg_signature", **changes: str) -> RawRequest:
    """Return an event callback; `receiver` may be another one, other changes are parameters."""
    text = sealed(payload, changes.pop("receiver", APP_KEY))
    stamp = str(int(at * 1000))
    signature = digest(TOKEN, stamp, NONCE, text).decode()
    query = {name: signature, "timestamp": stamp, "nonce": NONCE, **changes}
    return asked("POST", "dingtalk", query, json.dumps({"encrypt": text}).encode())


def success(at: float) -> HTTPAnswer:
    stamp = str(int(at * 1000))
    text, signature = Envelope(Keys(TOKEN), Keys(AES_KEY), APP_KEY).sealed(b"success", stamp, NONCE)
    return HTTPAnswer.of_json(
        {"msg_signature": signature, "timeStamp": stamp, "nonce": NONCE, "encrypt": text}
    )


def api(called: httpx.Request) -> httpx.Response:
    if called.url.path == "/v1.0/oauth2/accessToken":
        return httpx.Response(200, json={"accessToken": ACCESS_TOKEN, "expireIn": 7200})
    if called.url.path == "/robot/sendBySession":
        return httpx.Response(200, json={"errcode": 0, "errmsg": "ok"})
    return httpx.Response(200, json={"processQueryKey": "sent1"})


SAMPLES = Samples(
    platform="dingtalk",
    settings={"app_key": APP_KEY},
    secrets={"app_secret": APP_SECRET, "event_token": TOKEN, "event_aes_key": AES_KEY},
    request=request,
    message=message(),
    sender_id=STAFF,
    content="hello",
    ack=HTTPAnswer.of_json({}),
    api=api,
    destination=f"?{urlencode({'session': SESSION})}",
    traits=(False, False),
    ignored=(
        message(senderId=ROBOT),
        message(msgtype="interactiveCard"),
        message(msgtype="unknownMsgType"),
    ),
    handshakes=(
        (lambda at: event(b'{"EventType":"check_url"}', at), success(NOW)),
        (lambda at: event(b'{"EventType":"user_add_org"}', at, name="signature"), success(NOW)),
    ),
    signature_headers=("timestamp", "sign"),
    window_s=3600,
)
