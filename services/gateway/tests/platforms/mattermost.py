from __future__ import annotations

import hashlib
import hmac
import json
from urllib.parse import urlencode

import httpx

from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest
from services.gateway.tests.platforms.samples import PUBLIC_URL, Samples

TOKEN = b"xr3j5x3p4pfk7kk6ck7b4e6ghh"
BOT_TOKEN = b"9xuqwrwgstrb3mzrxb83nb357a"
CHANNEL, USER, POST = "hawos4dqtby53pd64o4a4cmeoo", "rnina9994bde8mua79zqcg5hmo", "p" * 26
FILE, SENT = "f" * 26, "s" * 26
NAME = "ada"


def payload(**changes: object) -> dict[str, object]:
    """Return what an outgoing webhook sends as JSON."""
    told = {
        "token": TOKEN.decode(),
        "team_id": "qdeeyqfhbtnqim7gdx5iffsywh",
        "team_domain": "engines",
        "channel_id": CHANNEL,
        "channel_name": "town-square",
        "timestamp": 1_699_999_990_123,
        "user_id": USER,
        "user_name": NAME,
        "post_id": POST,
        "text": "claw hello",
        "trigger_word": "claw",
        "file_ids": "",
        **changes,
    }
    return {name: value for name, value in told.items() if value is not ...}


def message(**changes: object) -> bytes:
    return json.dumps(payload(**changes)).encode()


def form(**changes: object) -> bytes:
    """Return the same as a form, whose time is in seconds."""
    return urlencode(payload(**{"timestamp": 1_699_999_990, **changes})).encode()


def command(**changes: object) -> bytes:
    told = {
        "token": TOKEN.decode(),
        "team_id": "qdeeyqfhbtnqim7gdx5iffsywh",
        "channel_id": CHANNEL,
        "channel_name": "town-square",
        "user_id": USER,
        "user_name": NAME,
        "command": "/claw",
        "text": "hello",
        "trigger_id": "MTIzOnJuaW5hOTk5NGJkZTg6MTY5OTk5OTk5MDEyMzpNRVVDSVFE" * 4,
        "response_url": f"https://chat.example/hooks/commands/{'h' * 26}",
        **changes,
    }
    return urlencode({name: value for name, value in told.items() if value is not ...}).encode()


def mac(value: str, channel: str = CHANNEL, post: str = POST, key: bytes = BOT_TOKEN) -> str:
    bound = json.dumps([channel, post, value]).encode()
    return hmac.new(key, b"mattermost action\x00" + bound, hashlib.sha256).hexdigest()


def pressed(value: str, **changes: object) -> bytes:
    told = {
        "user_id": USER,
        "user_name": NAME,
        "channel_id": CHANNEL,
        "channel_name": "town-square",
        "team_id": "qdeeyqfhbtnqim7gdx5iffsywh",
        "post_id": SENT,
        "trigger_id": "bmV3dHJpZ2dlcg" * 10,
        "type": "button",
        "data_source": "",
        "context": {"value": value, "post_id": POST, "mac": mac(value)},
        **changes,
    }
    return json.dumps(told).encode()


def request(body: bytes, at: float = 0.0) -> RawRequest:
    kind = b"application/json" if body.startswith(b"{") else b"application/x-www-form-urlencoded"
    return RawRequest(
        method="POST",
        url=f"{PUBLIC_URL}/webhooks/mattermost",
        headers=((b"content-type", kind),),
        body=body,
    )


SAMPLES = Samples(
    platform="mattermost",
    pressed=pressed,
    secrets={"token": TOKEN, "bot_token": BOT_TOKEN},
    settings={"api_base": "https://chat.example", "bot_username": "claw"},
    request=request,
    message=message(),
    sender_id=USER,
    content="hello",
    ack=HTTPAnswer.of_json({}),
    api=lambda _: httpx.Response(201, json={"id": SENT, "channel_id": CHANNEL}),
    destination=f'"root_id": "{POST}"',
    traits=(False, True),
    redelivered=form(),
    ignored=(
        message(user_name="claw"),
        message(text=" ", trigger_word=""),
        message(post_id=...),
    ),
    failure_status=200,
)
