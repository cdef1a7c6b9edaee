"""LINE: an official account's Messaging API behind a webhook.

In: `x-line-signature` is the base64 HMAC-SHA256 of the body under the channel secret ("Verify
webhook signature"); nothing is dated. A request has any number of events, none of them when the
console's button "Verify" is pressed, and LINE wants its answer within 2 s. Events that were not
answered come again where redelivery is switched on, under the same `webhookEventId`.

Out: a reply token is free of charge, takes one call within a minute of its event, and no key
against repetition ("Send reply message"). A push counts towards the plan's monthly messages, needs
no token, and shows once under its `X-Line-Retry-Key` for 24 h ("Retry failed API requests": 409
says that it was taken before). So the first part of a reply goes by token while the event is
younger than `REPLY_AGE_S`, every other part is pushed. An answer from us is always later than the
one to the webhook, and a slow model's is usually later than the token. A token that LINE takes for
spent is followed by a push: where the answer to the first attempt was lost, that part shows twice,
which is better than not at all.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Literal

import httpx

from clawdbot.gateway.adapters.fields import read_fields
from clawdbot.gateway.adapters.guarded_http import FileRequest
from clawdbot.gateway.adapters.platforms.api import APIAnswer, APIRequest, PlatformAPI
from clawdbot.gateway.adapters.platforms.batches import understood
from clawdbot.gateway.adapters.platforms.buttons import buttons_of
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
from clawdbot.gateway.adapters.platforms.line_events import ACTIVE, SCHEME, Delivery, Event
from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest, Verified, refused
from clawdbot.gateway.adapters.strict_json import parse_object
from clawdbot.gateway.domain.deliveries import SendTraits
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.gateway.domain.splitting import TextLimit, Unit
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, InvalidMessage, Rejected
from clawdbot.schema.messages import Attachment

SIGNATURE = "x-line-signature"
CHANNEL_SECRET, ACCESS_TOKEN = "channel_secret", "channel_access_token"
MIN_TOKEN_BYTES = 30
MAX_TEXT_UNITS = 5_000
REPLY_AGE_S = 50.0
"""A reply token lasts a minute; the rest is for the call, and for clocks that differ."""
LOADING_S = 20
"""LINE takes multiples of 5, at most 60; a message of ours ends it."""


class LINESettings(AccountSettings):
    """Keys of an account of `platforms.line`."""

    api_base: str = "https://api.line.me"
    data_api_base: str = "https://api-data.line.me"
    """Where files are, which LINE keeps on another host."""
    group_replies: Literal["mentioned", "all"] = "mentioned"
    """Whether everything in a group is answered, or only what mentions the account."""


class LINE:
    """The adapter of one channel; a `PlatformAdapter` that is `ShowsTyping`."""

    methods = frozenset({"POST"})
    limits = Limits(TextLimit(MAX_TEXT_UNITS, Unit.UTF16), ack_s=1.0)
    capabilities = Capabilities(typing=True, typing_s=LOADING_S, buttons=True)
    unreadable: HTTPAnswer | None = HTTPAnswer()

    def __init__(
        self,
        account: Account[LINESettings],
        client: httpx.AsyncClient,
        now: Callable[[], float] = time.time,
    ) -> None:
        settings = account.settings
        self._secrets = account.keys[CHANNEL_SECRET]
        self._headers = {"Authorization": f"Bearer {account.keys[ACCESS_TOKEN].text}"}
        self._api = PlatformAPI(client, account.platform, settings.api_base, judge)
        self._files = settings.data_api_base
        self._answers_all = settings.group_replies == "all"
        self._now = now

    def admit(self, request: RawRequest) -> None:
        """See `PlatformAdapter.admit`."""
        request.header(SIGNATURE)

    def verify(self, request: RawRequest, now: float) -> Verified:  # noqa: ARG002 -- not dated
        """See `PlatformAdapter.verify`."""
        offered = request.header(SIGNATURE)
        expected = [_signature(secret, request.body) for secret in self._secrets]
        # A list: each secret is compared, whichever was right.
        if not any([hmac.compare_digest(one, offered) for one in expected]):
            raise refused()
        return Verified(request, request.body)

    def read(self, verified: Verified) -> Received:
        """See `PlatformAdapter.read`; joins, stickers, unsent messages are only acknowledged."""
        delivery = read_fields(Delivery, parse_object(verified.payload))

        def message_of(values: Mapping[str, object]) -> PlatformMessage | None:
            event = read_fields(Event, values)
            is_own = event.source is not None and event.source.user_id == delivery.destination
            return None if is_own else self._message(event)

        return Received(understood(delivery.events, message_of))

    def _message(self, event: Event) -> PlatformMessage | None:
        content = event.content(answers_all=self._answers_all)
        source = event.source
        if content is None or event.mode != ACTIVE or source is None:
            return None
        if source.user_id is None or source.chat is None:
            return None
        if event.webhook_event_id is None:
            raise InvalidMessage("the field 'webhookEventId' is missing", field="webhookEventId")
        return PlatformMessage(
            event_id=event.webhook_event_id,
            sender_id=source.user_id,
            content=content,
            place=(source.chat, ""),
            timestamp=event.timestamp // 1000,
            attachments=() if event.message is None else event.message.attachments(),
            address={
                "to": source.chat,
                "is_shared": source.is_shared,
                "reply_token": event.reply_token or "",
                "at_ms": event.timestamp,
            },
            # Of no use without our access token, but nobody else needs to see it.
            holds_token=bool(event.reply_token),
            in_group=source.is_shared,
        )

    async def send(self, part: ReplyPart, address: Address, *, deadline: Deadline) -> str | None:
        """See `PlatformAdapter.send`."""
        messages = [{"type": "text", "text": part.text, **_quick_reply(part)}]
        if self._goes_by_token(part, address):
            reply = {"replyToken": address["reply_token"], "messages": messages}
            try:
                return await self._post("/v2/bot/message/reply", reply, {}, deadline)
            except TokenSpent:
                # An earlier attempt or reply took it, or it did not last; a push does not need it.
                pass
        push = {"to": address["to"], "messages": messages}
        try:
            return await self._post("/v2/bot/message/push", push, _retry_key(part), deadline)
        except AlreadyAccepted:
            return None

    def traits(self, part: ReplyPart, address: Address) -> SendTraits:
        """See `Keyed.traits`; a reply token takes no key."""
        return SendTraits(shows_once=not self._goes_by_token(part, address))

    async def show_typing(self, address: Address, *, deadline: Deadline) -> None:
        """See `ShowsTyping.show_typing`; groups have no such thing."""
        if address["is_shared"]:
            return
        body = {"chatId": address["to"], "loadingSeconds": LOADING_S}
        request = APIRequest.of_json("/v2/bot/chat/loading/start", body, self._headers)
        await self._api.call(request, deadline=deadline)

    async def locate(
        self,
        attachment: Attachment,
        address: Address,  # noqa: ARG002 -- a file's id is all that it takes
        *,
        deadline: Deadline,  # noqa: ARG002 -- nobody is asked
    ) -> FileRequest:
        """See `LocatesFiles.locate` ("Get content"); a sender's own host is fetched as it is."""
        scheme, _, message_id = attachment.url.partition(":")
        if scheme != SCHEME:
            return FileRequest(attachment.url)
        path = f"/v2/bot/message/{message_id}/content"
        return FileRequest.below(self._files, path, self._headers)

    def _goes_by_token(self, part: ReplyPart, address: Address) -> bool:
        age_s = self._now() - address["at_ms"] / 1000
        return part.index == 0 and bool(address["reply_token"]) and age_s < REPLY_AGE_S

    async def _post(
        self, path: str, body: object, headers: Mapping[str, str], deadline: Deadline
    ) -> str | None:
        request = APIRequest.of_json(path, body, {**self._headers, **headers})
        return _sent_id(await self._api.call(request, deadline=deadline))


class AlreadyAccepted(Rejected):
    """LINE took the message under this key before."""


class TokenSpent(Rejected):
    """The reply token was used, or is too old."""


PLATFORM = Platform(
    LINESettings,
    LINE,
    (SecretRule(CHANNEL_SECRET), SecretRule(ACCESS_TOKEN, min_bytes=MIN_TOKEN_BYTES)),
)


def judge(answer: APIAnswer) -> ClawdbotError | None:
    """Return the error that LINE tells by its words alone; a `Judge`.

    Source: Messaging API reference, "Status codes" and "Error messages".
    """
    told = answer.data.get("message")
    text = told.lower() if isinstance(told, str) else ""
    if answer.status == httpx.codes.CONFLICT:
        return AlreadyAccepted("line has the message already")
    if answer.status == httpx.codes.BAD_REQUEST and "invalid reply token" in text:
        return TokenSpent("line takes the reply token no more")
    if answer.status == httpx.codes.TOO_MANY_REQUESTS and "monthly limit" in text:
        fix = "wait for the next month, or change the official account's plan"
        return Rejected("line takes no more messages this month", fix=fix)
    if answer.status == httpx.codes.UNAUTHORIZED:
        return Rejected("line refused the access token", fix=f"issue a new {ACCESS_TOKEN}")
    return None


def _signature(secret: bytes, body: bytes) -> bytes:
    return base64.b64encode(hmac.new(secret, body, hashlib.sha256).digest())


def _retry_key(part: ReplyPart) -> dict[str, str]:
    digest = hashlib.sha256(part.idempotency_key.encode()).digest()
    return {"X-Line-Retry-Key": str(uuid.UUID(bytes=digest[:16], version=4))}


def _quick_reply(part: ReplyPart) -> dict[str, object]:
    """Return the buttons below the message; they go away when somebody writes."""
    items = [
        {
            "type": "action",
            "action": {
                "type": "postback",
                "label": button.label,
                "data": button.value,
                "displayText": button.label,
            },
        }
        for button in buttons_of(part)
    ]
    return {"quickReply": {"items": items}} if items else {}


def _sent_id(answer: APIAnswer) -> str | None:
    sent = answer.data.get("sentMessages")
    first = sent[0] if isinstance(sent, list) and sent else None
    sent_id = first.get("id") if isinstance(first, dict) else None
    return sent_id if isinstance(sent_id, str) else None
