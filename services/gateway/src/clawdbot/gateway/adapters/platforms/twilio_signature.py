"""`X-Twilio-Signature`: the base64 HMAC-SHA1 of an address, and of a form where there is one.

Signed is the whole public address as Twilio was given it, then each name and value of the form,
sorted, without anything between them. Of another body the address has the SHA-256, in the query as
`bodySHA256`. Names and values run together, so the form is read strictly: no pair without `=`. The
port may or may not stand in what is signed, whatever the address says. The algorithm is fixed here:
`X-Twilio-Webhooks-Signature-Settings`, by which a sender would choose it, is not looked at.

Sources: twilio.com/docs/usage/security, "Validating signatures from Twilio"; `RequestValidator` of
twilio-python.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from clawdbot.gateway.adapters.platforms.keys import Keys
from clawdbot.gateway.adapters.platforms.requests import RawRequest, Verified, refused

SIGNATURE = "x-twilio-signature"
BODY_HASH = "bodySHA256"
MAX_FORM_FIELDS = 256
DEFAULT_PORTS = {"https": 443, "http": 80}

Pairs = list[tuple[str, str]]


def verified(request: RawRequest, tokens: Keys) -> Verified:
    """Return the request as one that a holder of one of `tokens` sent.

    Raises:
        Unauthenticated: nobody did, or its form or hash is not as it has to be.
    """
    offered = request.header(SIGNATURE)
    form = _signed_form(request)
    expected = [
        _signature(token, (url + form).encode("utf-8", "surrogatepass"))
        for token in tokens
        for url in _spellings(request.url)
    ]
    # A list: each is compared, whichever was right.
    if not any([hmac.compare_digest(one, offered) for one in expected]):
        raise refused()
    return Verified(request, request.body)


def form_pairs(body: bytes) -> Pairs:
    """Return the names and values of a form, blank ones too.

    Raises:
        ValueError: it is none: not UTF-8, too many fields, or one without `=`.
    """
    return parse_qsl(
        body.decode("ascii"),
        keep_blank_values=True,
        strict_parsing=True,
        errors="strict",
        max_num_fields=MAX_FORM_FIELDS,
    )


def _signed_form(request: RawRequest) -> str:
    """Return what of the body is signed beside the address: "" if the address has its hash."""
    if any(name == BODY_HASH for name, _ in request.query):
        offered = request.parameter(BODY_HASH).lower().encode()
        if not hmac.compare_digest(hashlib.sha256(request.body).hexdigest().encode(), offered):
            raise refused()
        return ""
    try:
        pairs = form_pairs(request.body)
    except ValueError:
        raise refused() from None
    # A name may come several times; the same value twice counts once.
    return "".join(f"{name}{value}" for name, value in sorted(set(pairs)))


def _spellings(url: str) -> list[str]:
    """Return `url` without its port and with it."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    return [urlunsplit(parts._replace(netloc=netloc)) for netloc in (host, f"{host}:{port}")]


def _signature(token: bytes, signed: bytes) -> bytes:
    return base64.b64encode(hmac.new(token, signed, hashlib.sha1).digest())
