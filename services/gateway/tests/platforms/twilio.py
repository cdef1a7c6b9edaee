from __future__ import annotations

import base64
import hashlib
import hmac
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx

from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest
from services.gateway.tests.platforms.samples import PUBLIC_URL, Samples

ACCOUNT = "AC" + "0" * 32
TOKEN = b"0123456789abcdef0123456789abcdef"
MESSAGE = "SM1f0e8ae6ade43cb3c0ce4525424e404f"
THEIRS, OURS = "+14158675309", "+18005551212"
URL = f"{PUBLIC_URL}/webhooks/twilio"


def form(**changes: str | None) -> bytes:
    """Return the fields of a message; None takes one away."""
    fields: dict[str, str | None] = {
        "ToCountry": "US",
        "SmsMessageSid": MESSAGE,
        "NumMedia": "0",
        "FromCity": "",
        "SmsSid": MESSAGE,
        "SmsStatus": "received",
        "Body": "hello",
        "To": OURS,
        "NumSegments": "1",
        "MessageSid": MESSAGE,
        "AccountSid": ACCOUNT,
        "From": THEIRS,
        "ApiVersion": "2010-04-01",
        **changes,
    }
    return urlencode({name: value for name, value in fields.items() if value is not None}).encode()


def signature(url: str, pairs: list[tuple[str, str]], token: bytes = TOKEN) -> bytes:
    text = url + "".join(f"{name}{value}" for name, value in sorted(set(pairs)))
    digest = hmac.new(token, text.encode("utf-8", "surrogatepass"), hashlib.sha1).digest()
    return base64.b64encode(digest)


def request(payload: bytes, at: float = 0.0, token: bytes = TOKEN, url: str = URL) -> RawRequest:
    """Sign what is meant for a form as one, whatever it is."""
    pairs = parse_qsl(payload.decode("utf-8", "replace"), keep_blank_values=True)
    return RawRequest(
        method="POST",
        url=url,
        query=tuple(parse_qsl(urlsplit(url).query, keep_blank_values=True)),
        headers=((b"x-twilio-signature", signature(url, pairs, token)),),
        body=payload,
    )


def hashed(payload: bytes) -> RawRequest:
    """Sign any body by its hash in the address."""
    url = f"{URL}?bodySHA256={hashlib.sha256(payload).hexdigest()}"
    return RawRequest(
        method="POST",
        url=url,
        query=tuple(parse_qsl(urlsplit(url).query)),
        headers=((b"x-twilio-signature", signature(url, [])),),
        body=payload,
    )


def sent(_: httpx.Request) -> httpx.Response:
    return httpx.Response(201, json={"sid": "SM" + "a" * 32, "status": "queued"})


ACK = HTTPAnswer(
    body=b'<?xml version="1.0" encoding="UTF-8"?><Response></Response>',
    content_type="text/xml; charset=utf-8",
)

SAMPLES = Samples(
    platform="twilio",
    settings={"account_sid": ACCOUNT},
    secrets={"auth_token": TOKEN},
    request=request,
    message=form(),
    sender_id=THEIRS,
    content="hello",
    ack=ACK,
    api=sent,
    destination=f"To={THEIRS}",
    traits=(False, False),
    ignored=(
        form(SmsStatus="delivered", MessageStatus="delivered", Body=None),
        form(MessageStatus="received"),
        form(MessageSid=None, CallSid="CA1234567890ABCDE"),
        form(OptOutType="STOP", Body="STOP"),
        form(From=OURS),
        form(Body=""),
    ),
    handshakes=((lambda _: hashed(b'{"specversion": "1.0"}'), ACK),),
    signature_headers=("x-twilio-signature",),
)
