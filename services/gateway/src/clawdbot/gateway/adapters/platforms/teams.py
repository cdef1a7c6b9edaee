"""Microsoft Teams by outgoing webhook: what a channel says to it, and an answer on the spot.

In: `Authorization: HMAC <base64>` is the HMAC-SHA256 of the body under the security token, which
Teams shows in base64. Nothing is dated; a message that comes again is kept once by its id. Whatever
is answered within five seconds is posted below the message, and nothing is sent again.

Out: an outgoing webhook has no way back but that answer. Where a channel's incoming webhook (a
workflow "when a Teams webhook request is received") is given as `reply_url`, replies are posted
there as cards, into the channel and not below the message. Without it the answer says that there is
none to come; a bot of the Bot Framework has both ways. Neither has a key against repetition.

Source: learn.microsoft.com, "Create outgoing webhooks", "Create incoming webhooks with Workflows".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import replace

import httpx

from clawdbot.gateway.adapters.fields import read_fields
from clawdbot.gateway.adapters.platforms.activities import BOT, MESSAGE, Activity, Kind
from clawdbot.gateway.adapters.platforms.api import APIRequest, PlatformAPI
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
from clawdbot.gateway.adapters.platforms.keys import Keys, SecretRule
from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest, Verified, refused
from clawdbot.gateway.adapters.strict_json import parse_object
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.gateway.domain.splitting import TextLimit, Unit
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import Rejected

SECURITY_TOKEN, REPLY_URL = "security_token", "reply_url"
MAX_TEXT_BYTES = 12_000
"""A card has at most 28 KB, and each byte may be two where JSON escapes it."""


def _told(text: str) -> HTTPAnswer:
    return HTTPAnswer.of_json({"type": "message", "text": text})


WORKING = _told("Got it. The answer comes to this channel.")
NO_WAY_BACK = _told(
    "Got it. This outgoing webhook cannot answer later: it needs a reply_url, or a bot."
)
NOT_KEPT = _told("That did not reach me. Please send it again.")


class TeamsSettings(AccountSettings):
    """Keys of an account of `platforms.teams`."""


class Teams:
    """The adapter of one outgoing webhook; a `PlatformAdapter`."""

    methods = frozenset({"POST"})
    limits = Limits(TextLimit(MAX_TEXT_BYTES, Unit.BYTES), body_bytes=262_144)
    unreadable: HTTPAnswer | None = HTTPAnswer()

    def __init__(self, account: Account[TeamsSettings], client: httpx.AsyncClient) -> None:
        self._keys = [_decoded(token) for token in account.keys[SECURITY_TOKEN]]
        self._reply_url = _address(account.keys.get(REPLY_URL))
        self._api = PlatformAPI(client, account.platform, "")
        self.capabilities = Capabilities(replies=bool(self._reply_url))
        self._ack = WORKING if self._reply_url else NO_WAY_BACK

    def admit(self, request: RawRequest) -> None:
        """See `PlatformAdapter.admit`."""
        request.header("authorization")

    def verify(self, request: RawRequest, now: float) -> Verified:  # noqa: ARG002 -- not dated
        """See `PlatformAdapter.verify`."""
        offered = request.header("authorization")
        # A list: each key is compared, whichever was right.
        if not any([hmac.compare_digest(_hmac(key, request.body), offered) for key in self._keys]):
            raise refused()
        return Verified(request, request.body)

    def read(self, verified: Verified) -> Received:
        """See `PlatformAdapter.read`."""
        values = parse_object(verified.payload)
        if read_fields(Kind, values).type != MESSAGE:
            return Received()
        activity = read_fields(Activity, values)
        if activity.sender.role == BOT or not activity.content:
            return Received()
        message = PlatformMessage(
            event_id=activity.event_id,
            sender_id=activity.sender_id,
            content=activity.content,
            place=(activity.conversation.id, ""),
            timestamp=activity.at_s,
            address={"conversation": activity.conversation.id},
            in_group=True,
        )
        return Received((message,), self._ack, on_failure=NOT_KEPT)

    async def send(
        self,
        part: ReplyPart,
        address: Address,  # noqa: ARG002 -- a webhook leads to one channel
        *,
        deadline: Deadline,
    ) -> str | None:
        """See `PlatformAdapter.send`; files are not sent."""
        if not self._reply_url:
            raise Rejected("teams has no reply_url for this webhook")
        block = {"type": "TextBlock", "text": part.text, "wrap": True}
        card = {
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": {"type": "AdaptiveCard", "version": "1.4", "body": [block]},
        }
        request = APIRequest.of_json("", {"type": "message", "attachments": [card]})
        await self._api.call(replace(request, url=self._reply_url), deadline=deadline)
        return None


PLATFORM = Platform(
    TeamsSettings,
    Teams,
    (SecretRule(SECURITY_TOKEN, min_bytes=40), SecretRule(REPLY_URL, is_required=False)),
)


def _hmac(key: bytes, body: bytes) -> bytes:
    return b"HMAC " + base64.b64encode(hmac.new(key, body, hashlib.sha256).digest())


def _decoded(token: bytes) -> bytes:
    try:
        return base64.b64decode(token, validate=True)
    except binascii.Error as exc:
        raise ValueError(f"{SECURITY_TOKEN} is not base64, as Teams shows it") from exc


def _address(keys: Keys | None) -> str:
    if keys is None:
        return ""
    try:
        parsed = httpx.URL(keys.text)
    except httpx.InvalidURL as exc:
        raise ValueError(f"{REPLY_URL} is not an address") from exc
    if parsed.scheme != "https" or not parsed.host:
        raise ValueError(f"{REPLY_URL} is not an https address")
    return keys.text
