from __future__ import annotations

import hashlib
import hmac
import json

import httpx

from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest
from services.gateway.tests.platforms.samples import PUBLIC_URL, Samples

SECRET = b"It's a Secret to Everybody"
"""The one that the documentation shows; it belongs to nobody."""
TOKEN = b"github_pat_11NOTAREALTOKEN0_of_anybody_at_all"
REPOSITORY = {"id": 186853002, "full_name": "octo-org/claw.py", "private": False}
ADA = {"id": 21031067, "login": "ada", "type": "User"}
US = {"id": 99, "login": "Claw-Bot", "type": "User"}


def comment(body: str = "@claw-bot hello", **changes: object) -> dict[str, object]:
    return {
        "id": 492700400,
        "user": ADA,
        "created_at": "2023-11-14T22:13:10Z",
        "updated_at": "2023-11-14T22:13:10Z",
        "author_association": "NONE",
        "body": body,
        **changes,
    }


def event(**changes: object) -> bytes:
    """Return a payload of `issue_comment`; None takes a field away."""
    fields: dict[str, object] = {
        "action": "created",
        "issue": {"number": 7, "title": "It claws", "user": ADA, "body": "@claw-bot not this"},
        "comment": comment(),
        "repository": REPOSITORY,
        "sender": ADA,
        **changes,
    }
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


def review(**changes: object) -> bytes:
    """Return a payload of `pull_request_review_comment`."""
    about = {"pull_request_review_id": 42, "path": "a.py", **changes}
    return event(issue=None, pull_request={"number": 8}, comment=comment(**about))


def signature(payload: bytes, secret: bytes = SECRET) -> bytes:
    return b"sha256=" + hmac.new(secret, payload, hashlib.sha256).hexdigest().encode()


def request(payload: bytes, at: float = 0.0, secret: bytes = SECRET) -> RawRequest:
    return RawRequest(
        method="POST",
        url=f"{PUBLIC_URL}/webhooks/github",
        headers=(
            (b"x-github-event", b"issue_comment"),
            (b"x-github-delivery", b"72d3162e-cc78-11e3-81ab-4c9367dc0958"),
            (b"x-hub-signature-256", signature(payload, secret)),
        ),
        body=payload,
    )


def sent(_: httpx.Request) -> httpx.Response:
    return httpx.Response(201, json={"id": 492700401, "body": "hi there"})


PING = b'{"zen":"Design for failure.","hook_id":30,"hook":{"type":"Repository"}}'

SAMPLES = Samples(
    platform="github",
    settings={"bot_login": "claw-bot"},
    secrets={"webhook_secret": SECRET, "token": TOKEN},
    request=request,
    message=event(),
    sender_id="21031067",
    content="hello",
    ack=HTTPAnswer(),
    api=sent,
    destination="/repos/octo-org/claw.py/issues/7/comments",
    traits=(False, True),
    ignored=(
        event(comment=comment(user=US)),
        event(comment=comment(user={"id": 1, "login": "claw-bot[bot]", "type": "Bot"})),
        event(comment=comment(user={"id": 2, "login": "dependabot[bot]", "type": "Bot"})),
        event(comment=comment(user=None)),
        event(comment=comment("hello")),
        event(comment=comment(None)),
        event(comment=comment("mail me@claw-bot or @claw-bot-2, see /clawdbot")),
        event(comment=comment("> @claw-bot hello\n\nI agree")),
        event(comment=comment("```\n@claw-bot hello\n```")),
        event(comment=comment("`@claw-bot` is the name")),
        event(comment=comment("/stop")),
        event(action="edited"),
        event(action="deleted"),
        event(action="opened", comment=None),
        event(issue=None, discussion={"number": 3}),
        event(issue=None),
        b'{"ref":"refs/heads/main","commits":[]}',
        PING,
    ),
    handshakes=((lambda _: request(PING), HTTPAnswer()),),
    signature_headers=("x-hub-signature-256",),
    garbage_status=frozenset({200, 422}),
)
