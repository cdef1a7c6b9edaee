"""Feishu and Lark: a custom app's bot, by event subscription to an address of ours.

Every message that Feishu sends is answered, in private chats and groups: its scopes decide whether
a group sends all messages or only those that mention the bot. What apps say is passed over. Feishu
waits 3 s (1 s for the challenge) and sends again after 15 s, 5 min, 1 h and 6 h; it asks to tell
repeats by `message_id`, not by `event_id`, so that is the message's id here.

Replies are `text`, or a card where buttons go with them, sent under the part's key as `uuid`, which
Feishu takes once within an hour: a reply repeated later than that is read twice. Messages can be
edited 20 times.

Source: Feishu Open Platform, "Receive message", "Reply message", "Edit message", "Structure of sent
message content"; see `feishu_envelope`, `feishu_messages` and `feishu_api` for theirs.
"""

from __future__ import annotations

import json
import re
from typing import Annotated
from urllib.parse import quote

import httpx
from pydantic import Field

from clawdbot.gateway.adapters.fields import Body, Name, read_fields
from clawdbot.gateway.adapters.guarded_http import FileRequest
from clawdbot.gateway.adapters.platforms.feishu_api import FeishuAPI
from clawdbot.gateway.adapters.platforms.feishu_cards import (
    PRESSED,
    CardAction,
    card,
    message_of_press,
)
from clawdbot.gateway.adapters.platforms.feishu_envelope import URL_VERIFICATION, Envelope
from clawdbot.gateway.adapters.platforms.feishu_messages import MessageEvent, message_of
from clawdbot.gateway.adapters.platforms.interface import (
    Account,
    AccountSettings,
    Address,
    Capabilities,
    Limits,
    Platform,
    Received,
)
from clawdbot.gateway.adapters.platforms.keys import SecretRule
from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest, Verified
from clawdbot.gateway.adapters.strict_json import parse_object
from clawdbot.gateway.domain.deliveries import SendTraits
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.gateway.domain.splitting import TextLimit, Unit
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.messages import Attachment

RECEIVE = "im.message.receive_v1"
MESSAGES_PATH = "/open-apis/im/v1/messages"
TEXT_BYTES = 20_000
"""A request may have 150 KB. JSON within JSON makes a control character seven bytes of one."""
ACK = HTTPAnswer.of_json({"msg": "success"})
WORD_JOINER = "\u2060"
_MENTION_TAG = re.compile(r"<(?=\s*/?\s*at)", re.IGNORECASE)

ENCRYPT_KEY, VERIFICATION_TOKEN, APP_SECRET = "encrypt_key", "verification_token", "app_secret"


class FeishuSettings(AccountSettings):
    """Keys of an account of `platforms.feishu`."""

    app_id: Annotated[str, Field(min_length=1, max_length=128)]
    """`cli_...`, from the developer console."""
    api_base: Annotated[str, Field(pattern=r"^https?://[!-~]+$")] = "https://open.feishu.cn"
    """`https://open.larksuite.com` for Lark."""


class Challenge(Body):
    """What Feishu sends when the address is saved."""

    challenge: Annotated[str, Field(min_length=1, max_length=1024)]


class Header(Body):
    """`header` of an event, schema 2.0."""

    event_type: Name


class Event(Body):
    """Any event, schema 2.0."""

    header: Header


class MessageReceived(Body):
    """A `RECEIVE` event."""

    event: MessageEvent


class Feishu:
    """The adapter of one account; a `PlatformAdapter` that is `Editing`."""

    methods = frozenset({"POST"})
    limits = Limits(TextLimit(TEXT_BYTES, Unit.BYTES), ack_s=2.0)
    capabilities = Capabilities(edits=True, buttons=True)
    unreadable: HTTPAnswer | None = ACK

    def __init__(self, account: Account[FeishuSettings], client: httpx.AsyncClient) -> None:
        self._envelope = Envelope(account.keys[VERIFICATION_TOKEN], account.keys.get(ENCRYPT_KEY))
        settings = account.settings
        self._api_base = settings.api_base
        credentials = (settings.app_id, account.keys[APP_SECRET].text)
        self._api = FeishuAPI(client, account.platform, settings.api_base, credentials)

    def admit(self, request: RawRequest) -> None:
        """See `PlatformAdapter.admit`."""
        self._envelope.admit(request)

    def verify(self, request: RawRequest, now: float) -> Verified:
        """See `PlatformAdapter.verify`."""
        return Verified(request, self._envelope.opened(request, now))

    def read(self, verified: Verified) -> Received:
        """See `PlatformAdapter.read`."""
        values = parse_object(verified.payload)
        if values.get("type") == URL_VERIFICATION:
            challenge = read_fields(Challenge, values).challenge
            return Received(answer=HTTPAnswer.of_json({"challenge": challenge}))
        event_type = read_fields(Event, values).header.event_type
        if event_type == PRESSED:
            press = message_of_press(read_fields(CardAction, values))
            # Anything in this answer would be shown, or change the card.
            return Received(() if press is None else (press,), HTTPAnswer.of_json({}))
        if event_type != RECEIVE:
            return Received(answer=ACK)
        message = message_of(read_fields(MessageReceived, values).event)
        return Received(() if message is None else (message,), ACK)

    async def send(self, part: ReplyPart, address: Address, *, deadline: Deadline) -> str | None:
        """See `PlatformAdapter.send`; a reply to a message in a topic stays in it."""
        body = {**(card(part) or _text(part.text)), "uuid": part.idempotency_key}
        path = f"{_path(address['message_id'])}/reply"
        answer = await self._api.call("POST", path, body, deadline=deadline)
        sent = answer.data.get("data")
        sent_id = sent.get("message_id") if isinstance(sent, dict) else None
        return sent_id if isinstance(sent_id, str) else None

    def traits(self, part: ReplyPart, address: Address) -> SendTraits:  # noqa: ARG002 -- the same everywhere
        """See `Keyed.traits`; a key is known for an hour."""
        return SendTraits(shows_once=True, edits=True)

    async def edit(
        self,
        sent_id: str,
        part: ReplyPart,
        address: Address,  # noqa: ARG002 -- an id is all that Feishu needs
        *,
        deadline: Deadline,
    ) -> None:
        """See `Editing.edit`."""
        await self._api.call("PUT", _path(sent_id), _text(part.text), deadline=deadline)

    async def locate(
        self, attachment: Attachment, address: Address, *, deadline: Deadline
    ) -> FileRequest:
        """See `LocatesFiles.locate`; Feishu gives files of up to 100 MB ("Get resource files")."""
        key = quote(attachment.url.removeprefix("feishu:"), safe="")
        kind = "image" if attachment.type == "image" else "file"
        path = f"{_path(address['message_id'])}/resources/{key}?type={kind}"
        return FileRequest.below(
            self._api_base, path, await self._api.authorization(deadline=deadline)
        )


PLATFORM = Platform(
    FeishuSettings,
    Feishu,
    (
        SecretRule(VERIFICATION_TOKEN),
        SecretRule(ENCRYPT_KEY, is_required=False),
        SecretRule(APP_SECRET),
    ),
)


def _path(message_id: str) -> str:
    return f"{MESSAGES_PATH}/{quote(message_id, safe='')}"


def _text(text: str) -> dict[str, str]:
    # `<at user_id="all">` would call everybody: whoever writes to a model could have it say so.
    shown = _MENTION_TAG.sub(f"<{WORD_JOINER}", text)
    return {"msg_type": "text", "content": json.dumps({"text": shown}, ensure_ascii=False)}
