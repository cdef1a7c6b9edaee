from __future__ import annotations

import hashlib
import hmac
import json
from urllib.parse import urlencode

import httpx

from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest
from services.gateway.tests.platforms.samples import PUBLIC_URL, Samples

SIGNING_SECRET = b"8f742231b10e8888abcd99yyyzzz85a5"
BOT_TOKEN = b"xoxb-1234567890-1234567890-notARealBotToken"
CHANNEL, USER, BOT, TS = "C024BE91L", "U2147483697", "U0LAN0Z89", "1699999990.000200"


def payload(**changes: object) -> bytes:
    said = {"type": "message", "channel": CHANNEL, "user": USER, "text": "hello", "ts": TS}
    event = {name: value for name, value in {**said, **changes}.items() if value is not ...}
    envelope = {
        "type": "event_callback",
        "team_id": "T1DC2JH3J",
        "api_app_id": "A0MDYCDME",
        "event_id": "Ev0PV52K21",
        "event_time": 1699999990,
        "authorizations": [{"team_id": "T1DC2JH3J", "user_id": BOT, "is_bot": True}],
        "event": event,
    }
    return json.dumps(envelope).encode()


def request(body: bytes, at: float, key: bytes = SIGNING_SECRET) -> RawRequest:
    stamp = str(int(at)).encode()
    digest = hmac.new(key, b"v0:" + stamp + b":" + body, hashlib.sha256).hexdigest()
    return RawRequest(
        method="POST",
        url=f"{PUBLIC_URL}/webhooks/slack",
        headers=(
            (b"x-slack-request-timestamp", stamp),
            (b"x-slack-signature", b"v0=" + digest.encode()),
        ),
        body=body,
    )


def _challenge(at: float) -> RawRequest:
    return request(b'{"token":"old","challenge":"3eZbrw1aB","type":"url_verification"}', at)


def pressed(value: str, **changes: object) -> bytes:
    """Return the form of a press below our answer in the thread of `message`."""
    told = {
        "type": "block_actions",
        "user": {"id": USER, "username": "ada", "team_id": "T1DC2JH3J"},
        "trigger_id": "12466734323.1395872398",
        "container": {"type": "message_attachment", "message_ts": "1700.0002", "thread_ts": TS},
        "channel": {"id": CHANNEL, "name": "engines"},
        "message": {"type": "message", "user": BOT, "ts": "1700.0002", "thread_ts": TS},
        "response_url": "https://hooks.slack.com/actions/T1DC2JH3J/1/xyz",
        "actions": [
            {
                "type": "button",
                "action_id": "approve",
                "block_id": "a1",
                "text": {"type": "plain_text", "text": "Approve"},
                "value": value,
                "action_ts": "1700000000.123456",
            }
        ],
        **changes,
    }
    given = {name: value for name, value in told.items() if value is not ...}
    return urlencode({"payload": json.dumps(given)}).encode()


SAMPLES = Samples(
    platform="slack",
    pressed=pressed,
    secrets={"signing_secret": SIGNING_SECRET, "bot_token": BOT_TOKEN},
    request=request,
    message=payload(),
    sender_id=USER,
    content="hello",
    ack=HTTPAnswer(),
    api=lambda _: httpx.Response(200, json={"ok": True, "channel": CHANNEL, "ts": "1700.0002"}),
    destination=f'"channel": "{CHANNEL}"',
    traits=(True, True),
    # One mention in a channel arrives as two events.
    redelivered=payload(type="app_mention").replace(b"Ev0PV52K21", b"Ev0PV52K22"),
    ignored=(
        payload(bot_id="B19LU7CSY"),
        payload(user=BOT),
        payload(user="USLACKBOT"),
        payload(subtype="bot_message", user=...),
        payload(subtype="message_changed", user=..., message={"text": "hello!"}, hidden=True),
        payload(subtype="message_deleted", user=..., deleted_ts=TS),
        payload(subtype="channel_join"),
        payload(type="app_mention", edited={"user": USER, "ts": TS}),
        payload(type="reaction_added", channel=..., item={"type": "message"}),
        b'{"type":"app_rate_limited","minute_rate_limited":1518467820}',
        b"ssl_check=1&token=old",
        b"payload=%7B%22type%22%3A%22block_actions%22%2C%22actions%22%3A%5B%5D%7D",
    ),
    handshakes=((_challenge, HTTPAnswer.of_json({"challenge": "3eZbrw1aB"})),),
    signature_headers=("x-slack-request-timestamp", "x-slack-signature"),
    window_s=300,
)
