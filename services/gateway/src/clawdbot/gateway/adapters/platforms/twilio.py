"""Twilio: text messages (SMS and MMS) to numbers that Twilio keeps.

In: a form, or JSON that a flow of the operator's own sends on, under `X-Twilio-Signature`, which
covers the public address: without `app.public_url` there is nothing to check and the account is
refused at the start. Nothing is dated; `MessageSid` tells a repetition. Twilio waits 15 s and tries
again only where a fallback address or a connection override says so ("Webhooks", "Availability and
reliability"). The answer is empty TwiML, as ours comes later.

Out: `POST /2010-04-01/Accounts/<sid>/Messages.json` from the number that was written to, with
account and token as Basic credentials. There is no key against repetition. 1,600 characters are
one part, but each 153 of them, or 67 with anything beyond GSM-7, are charged as a message.

Sources (twilio.com/docs): "Twilio's request to your incoming message webhook", "Messages resource",
"Error and warning dictionary".
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlencode

import httpx
from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_pascal

from clawdbot.gateway.adapters.fields import Body, Content, Name, read_fields
from clawdbot.gateway.adapters.guarded_http import FileRequest
from clawdbot.gateway.adapters.platforms.api import APIAnswer, APIRequest, PlatformAPI
from clawdbot.gateway.adapters.platforms.interface import (
    Account,
    AccountSettings,
    Address,
    Capabilities,
    Limits,
    Platform,
    PlatformMessage,
    Received,
)
from clawdbot.gateway.adapters.platforms.keys import SecretRule
from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest, Verified
from clawdbot.gateway.adapters.platforms.twilio_signature import SIGNATURE, form_pairs, verified
from clawdbot.gateway.adapters.refusals import BadPayload
from clawdbot.gateway.adapters.strict_json import parse_object
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.gateway.domain.splitting import TextLimit, Unit
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, Overloaded, Rejected
from clawdbot.schema.messages import Attachment

AUTH_TOKEN = "auth_token"  # noqa: S105 -- the name of one
MAX_TEXT_UNITS = 1_600
MAX_MEDIA = 10
ACK_S = 5.0
RECEIVED = "received"
KINDS = frozenset({"image", "audio", "video"})
TWIML = HTTPAnswer(
    body=b'<?xml version="1.0" encoding="UTF-8"?><Response></Response>',
    content_type="text/xml; charset=utf-8",
)
"""Says nothing to the sender; any other text would be a message to them."""
BUSY = {20429: 1.0, 14107: 5.0, 21611: 30.0}
"""Codes that ask to wait, and seconds to wait where no header says how long."""
FIXES = {
    20003: f"check account_sid, and the account's {AUTH_TOKEN}",
    21408: "allow the country under Messaging, Geo permissions",
    21608: "verify the number, or upgrade the trial account",
    21610: "they have opted out: they have to text START",
}


class TwilioSettings(AccountSettings):
    """Keys of an account of `platforms.twilio`."""

    account_sid: Annotated[str, Field(pattern=r"^AC[0-9a-fA-F]{32}$")]
    """Whose numbers these are; of a subaccount, its own, with its own token."""
    api_base: str = "https://api.twilio.com"


class Inbound(Body):
    """A message to one of our numbers."""

    model_config = ConfigDict(alias_generator=to_pascal)

    message_sid: Annotated[str, Field(pattern=r"^(SM|MM)[0-9a-fA-F]{32}$")]
    sender: Annotated[Name, Field(alias="From")]
    to: Name
    body: Content = ""


class Kind(Body):
    """What tells a message from reports about our own, calls, and words that Twilio obeys."""

    model_config = ConfigDict(alias_generator=to_pascal)

    message_sid: str = ""
    message_status: str = ""
    """Of a message of ours."""
    sms_status: str = RECEIVED
    opt_out_type: str = ""
    """STOP, START or HELP: Twilio has answered it already."""

    @property
    def is_said(self) -> bool:
        """Whether a person says something to us."""
        is_theirs = self.sms_status == RECEIVED and not self.message_status
        return bool(self.message_sid) and is_theirs and not self.opt_out_type


class Twilio:
    """The adapter of one account's numbers; a `PlatformAdapter` that `LocatesFiles`."""

    methods = frozenset({"POST"})
    limits = Limits(TextLimit(MAX_TEXT_UNITS, Unit.UTF16), body_bytes=65_536, ack_s=ACK_S)
    capabilities = Capabilities()
    unreadable: HTTPAnswer | None = TWIML

    def __init__(self, account: Account[TwilioSettings], client: httpx.AsyncClient) -> None:
        if not account.url:
            raise ValueError("twilio signs the public address: set app.public_url")
        settings = account.settings
        self._tokens = account.keys[AUTH_TOKEN]
        credentials = f"{settings.account_sid}:{self._tokens.text}".encode()
        self._headers = {"Authorization": f"Basic {base64.b64encode(credentials).decode()}"}
        self._path = f"/2010-04-01/Accounts/{settings.account_sid}/Messages.json"
        self._api_base = settings.api_base.rstrip("/")
        self._api = PlatformAPI(client, account.platform, self._api_base, judge)

    def admit(self, request: RawRequest) -> None:
        """See `PlatformAdapter.admit`."""
        request.header(SIGNATURE)

    def verify(self, request: RawRequest, now: float) -> Verified:  # noqa: ARG002 -- not dated
        """See `PlatformAdapter.verify`."""
        return verified(request, self._tokens)

    def read(self, verified: Verified) -> Received:
        """See `PlatformAdapter.read`; reports about our own messages are only acknowledged."""
        values = _values(verified.payload)
        if not read_fields(Kind, values).is_said:
            return Received(answer=TWIML)
        said, media = read_fields(Inbound, values), _media(values)
        is_empty = not said.body.strip() and not media
        if said.sender == said.to or is_empty:
            return Received(answer=TWIML)
        message = PlatformMessage(
            event_id=said.message_sid,
            sender_id=said.sender,
            content=said.body,
            place=(said.to, said.sender),
            attachments=media,
            address={"to": said.sender, "from": said.to},
        )
        return Received((message,), TWIML)

    async def send(self, part: ReplyPart, address: Address, *, deadline: Deadline) -> str | None:
        """See `PlatformAdapter.send`."""
        form = {"To": address["to"], "From": address["from"], "Body": part.text}
        headers = {**self._headers, "Content-Type": "application/x-www-form-urlencoded"}
        request = APIRequest("POST", self._path, urlencode(form).encode(), headers)
        sid = (await self._api.call(request, deadline=deadline)).data.get("sid")
        return sid if isinstance(sid, str) else None

    async def locate(
        self,
        attachment: Attachment,
        address: Address,  # noqa: ARG002 -- the address of a file is all that it takes
        *,
        deadline: Deadline,  # noqa: ARG002 -- nobody is asked
    ) -> FileRequest:
        """See `LocatesFiles.locate`; the API leads on to a host of files, without our token."""
        path = attachment.url.removeprefix(self._api_base)
        if path == attachment.url or not path.startswith("/"):
            return FileRequest(attachment.url)
        request = FileRequest.below(self._api_base, path, self._headers)
        return replace(request, hosts=frozenset())


PLATFORM = Platform(TwilioSettings, Twilio, (SecretRule(AUTH_TOKEN),))


def judge(answer: APIAnswer) -> ClawdbotError | None:
    """Return the error that the answer's `code` stands for; a `Judge`."""
    code = answer.data.get("code")
    if type(code) is not int or answer.status < HTTPStatus.BAD_REQUEST:
        return None
    if code in BUSY and "retry-after" not in answer.headers:
        return Overloaded("twilio asks to wait", retry_after_s=BUSY[code])
    is_final = answer.status not in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
    if is_final and answer.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return Rejected(f"twilio refused the reply with code {code}", fix=FIXES.get(code))
    return None


def _values(payload: bytes) -> Mapping[str, object]:
    """Return the fields; what is signed decides how they are written, not an unsigned header."""
    if payload.lstrip().startswith((b"{", b"[")):
        return parse_object(payload)
    try:
        pairs = form_pairs(payload)
    except ValueError as exc:
        raise BadPayload("the body is neither a form nor JSON") from exc
    found = dict(pairs)
    if not found or len(found) != len(pairs):
        raise BadPayload("the body has no field, or one twice")
    return found


def _media(values: Mapping[str, object]) -> tuple[Attachment, ...]:
    found: list[Attachment] = []
    for index in range(MAX_MEDIA):
        url, media_type = values.get(f"MediaUrl{index}"), values.get(f"MediaContentType{index}")
        if not isinstance(url, str) or not url.startswith("https://"):
            break
        known = media_type if isinstance(media_type, str) and media_type else None
        kind = (known or "").partition("/")[0]
        found.append(Attachment(type=kind if kind in KINDS else "file", url=url, media_type=known))
    return tuple(found)
