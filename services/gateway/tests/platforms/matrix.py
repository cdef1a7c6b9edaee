from __future__ import annotations

import json
from typing import Any

import httpx

from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest
from services.gateway.tests.platforms.samples import PUBLIC_URL, Samples

HS_TOKEN = b"hs_312df522183efd404ec1cd22d2ffa4bbc76a8c1ccf541dd692eef281356bb74e"
AS_TOKEN = b"as_30c05ae90a248a4188e620216fa72e349803310ec83e2a77b34fe90be6081f46"
BOT, PERSON, ROOM = "@claw:example.org", "@ada:example.org", "!636q39766251:example.org"
EVENT, ROOT_EVENT, SENT = "$143273582443PhrSn", "$threadRoot", "$YUwRidLecu"
BASE = f"{PUBLIC_URL}/webhooks/matrix/_matrix/app/v1"


def said(text: str = "hello", **changes: object) -> dict[str, Any]:
    """Return a message event; `...` takes a field away."""
    event = {
        "type": "m.room.message",
        "event_id": EVENT,
        "room_id": ROOM,
        "sender": PERSON,
        "origin_server_ts": 1_699_999_990_123,
        "content": {"msgtype": "m.text", "body": text},
        "unsigned": {"age": 1234},
        **changes,
    }
    return {name: value for name, value in event.items() if value is not ...}


def content(**fields: object) -> dict[str, object]:
    return {"msgtype": "m.text", "body": "hello", **fields}


def invited(sender: str = PERSON, user: str = BOT, membership: str = "invite") -> dict[str, Any]:
    return said(
        type="m.room.member",
        sender=sender,
        state_key=user,
        content={"membership": membership, "is_direct": True},
    )


def transaction(*events: object) -> bytes:
    return json.dumps({"events": events}).encode()


def request(
    body: bytes, at: float = 0.0, path: str = "transactions/35", method: str = "PUT"
) -> RawRequest:
    return RawRequest(
        method=method,
        url=f"{BASE}/{path}",
        headers=((b"authorization", b"Bearer " + HS_TOKEN),),
        body=body,
    )


UNKNOWN = HTTPAnswer.of_json({"errcode": "M_NOT_FOUND", "error": "Nobody of that name."}, 404)
OK = HTTPAnswer.of_json({})

SAMPLES = Samples(
    platform="matrix",
    secrets={"hs_token": HS_TOKEN, "as_token": AS_TOKEN},
    settings={"api_base": "https://matrix.example.org", "user_id": BOT},
    request=request,
    message=transaction(said()),
    sender_id=PERSON,
    content="hello",
    ack=OK,
    api=lambda _: httpx.Response(200, json={"event_id": SENT}),
    destination="/rooms/%21636q39766251%3Aexample.org/send/m.room.message/",
    traits=(True, True),
    ignored=(
        transaction(),
        transaction(said(sender=BOT)),
        transaction(said(content=content(msgtype="m.notice"))),
        transaction(said(content=content(**{"m.relates_to": {"rel_type": "m.replace"}}))),
        transaction(said(type="m.room.encrypted", content={"algorithm": "m.megolm.v1"})),
        transaction(said(type="m.reaction", content={})),
        transaction(said(state_key="")),
        transaction(said(content={})),
        transaction(invited()),
        transaction(invited(membership="leave")),
    ),
    handshakes=(
        (lambda _: request(b'{"transaction_id":"mautrix-go_1"}', path="ping", method="POST"), OK),
        (lambda _: request(b"", path=f"users/{BOT}", method="GET"), OK),
        (lambda _: request(b"", path="users/%40nobody%3Aexample.org", method="GET"), UNKNOWN),
        (lambda _: request(b"", path="rooms/%23lobby%3Aexample.org", method="GET"), UNKNOWN),
    ),
    signature_headers=("authorization",),
)
