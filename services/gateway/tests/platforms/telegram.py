from __future__ import annotations

import json

import httpx

from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest
from services.gateway.tests.platforms.samples import PUBLIC_URL, Samples

SECRET = "a_secret-token_of_ours_1"
TOKEN = "123456:ABC-DEF1234ghIkl-zyx57W2v1u123ew11"
"""The one that the documentation shows; it belongs to nobody."""
HEADER = "x-telegram-bot-api-secret-token"
PERSON = {"id": 1111, "is_bot": False, "first_name": "Ada", "language_code": "en"}
GROUP = {"id": -1001557912345, "title": "Engines", "type": "supergroup"}
PRIVATE = {"id": 1111, "first_name": "Ada", "type": "private"}


def said(**changes: object) -> dict[str, object]:
    """Return a `Message`; None takes a field away."""
    fields: dict[str, object] = {
        "message_id": 1365,
        "from": PERSON,
        "chat": PRIVATE,
        "date": 1_700_000_000,
        "text": "hello",
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not None}


def update(kind: str = "message", value: object = None, update_id: int = 10000) -> bytes:
    return json.dumps({"update_id": update_id, kind: said() if value is None else value}).encode()


def message(**changes: object) -> bytes:
    return update(value=said(**changes))


def request(body: bytes, at: float = 0.0, secret: str = SECRET) -> RawRequest:
    return RawRequest(
        method="POST",
        url=f"{PUBLIC_URL}/webhooks/telegram",
        headers=((HEADER.encode(), secret.encode()),),
        body=body,
    )


def sent(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"ok": True, "result": {"message_id": 1366}})


PRESSED = update("callback_query", {"id": "4382bfdwdsb323b2d9", "from": PERSON, "data": "yes"})
ACKNOWLEDGED = HTTPAnswer.of_json(
    {"method": "answerCallbackQuery", "callback_query_id": "4382bfdwdsb323b2d9"}
)


def pressed(value: str, **changes: object) -> bytes:
    below = said(message_id=1366, **{"from": {"id": 123456, "is_bot": True, "first_name": "Claw"}})
    told = {"id": "4382bfdwdsb323b2d9", "from": PERSON, "message": below, "data": value, **changes}
    return update("callback_query", told, update_id=10002)


SAMPLES = Samples(
    platform="telegram",
    pressed=pressed,
    secrets={"webhook_secret": SECRET.encode(), "bot_token": TOKEN.encode()},
    request=request,
    message=message(),
    sender_id="1111",
    content="hello",
    ack=HTTPAnswer(),
    api=sent,
    destination='"chat_id": 1111',
    traits=(False, True),
    ignored=(
        update("edited_message"),
        update("channel_post"),
        update("edited_channel_post"),
        update("business_message"),
        update("my_chat_member", {"chat": GROUP, "date": 1_700_000_000}),
        update("something_new", {"id": "1"}),
        b'{"update_id": 10001}',
        PRESSED,
        message(**{"from": {**PERSON, "is_bot": True}}),
        message(**{"from": {**PERSON, "id": 123456}}),
        message(**{"from": None}),
        message(is_automatic_forward=True, chat=GROUP),
        message(chat={**GROUP, "is_direct_messages": True}),
        message(text=None, new_chat_members=[PERSON]),
        message(text=None, migrate_to_chat_id=GROUP["id"]),
    ),
    handshakes=((lambda _: request(PRESSED), ACKNOWLEDGED),),
    signature_headers=(HEADER,),
)
