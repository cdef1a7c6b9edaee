"""Telegram: a bot of the Bot API, behind a webhook or by long polling.

The header `X-Telegram-Bot-Api-Secret-Token` is the `secret_token` that setWebhook was given;
nothing is signed, nothing is dated (an update may be a day old), and any 2xx ends the redeliveries.
Errors stand in the body, `retry_after` and `migrate_to_chat_id` in its `parameters`. The API knows
no idempotency key: a part whose answer was lost, or whose sender died before noting it, is sent
once more, and then never again. Parts go one after the other; only the failing one is tried again.

The bot's token is part of every URL of the API. No URL is logged, raised, traced or shown: see
`PlatformAPI`; the runtime silences the HTTP client's own log.

Source: core.telegram.org/bots/api, "Making requests", "Making requests when getting updates",
`setWebhook`, `sendMessage`, `editMessageText`, `sendChatAction`, `getFile`, `ReplyParameters`,
`ResponseParameters` (Bot API 10.3). It says 4,096 characters; entities are counted in UTF-16 units,
and so is the text here, which is never too long by either count.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any

import httpx
from pydantic import Field

from clawdbot.gateway.adapters.fields import Body, read_fields
from clawdbot.gateway.adapters.guarded_http import FileRequest
from clawdbot.gateway.adapters.platforms.api import APIRequest, PlatformAPI
from clawdbot.gateway.adapters.platforms.buttons import buttons_of, is_ours
from clawdbot.gateway.adapters.platforms.interface import (
    Account,
    AccountSettings,
    Address,
    Capabilities,
    Event,
    Limits,
    Platform,
    PlatformMessage,
    Received,
)
from clawdbot.gateway.adapters.platforms.keys import SecretRule
from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest, Verified, refused
from clawdbot.gateway.adapters.platforms.telegram_errors import Migrated, NotModified, judge
from clawdbot.gateway.adapters.platforms.telegram_polling import Polling, judge_poll
from clawdbot.gateway.adapters.platforms.telegram_update import (
    SCHEME,
    Id,
    Pressed,
    PressedBelow,
    Said,
    Update,
    content_for,
    said_by,
)
from clawdbot.gateway.adapters.strict_json import parse_object
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.gateway.domain.splitting import TextLimit, Unit
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import Rejected
from clawdbot.schema.messages import Attachment

HEADER = "x-telegram-bot-api-secret-token"
WEBHOOK_SECRET = "webhook_secret"  # noqa: S105 -- the name of one
BOT_TOKEN = "bot_token"  # noqa: S105 -- the name of one
PRIVATE = "private"
MIN_TOKEN_BYTES = 30
MAX_TEXT_UNITS = 4096
_SECRET = re.compile(rb"[A-Za-z0-9_-]{1,256}")
_TOKEN = re.compile(rb"([0-9]{1,16}):[A-Za-z0-9_-]+")
_FILE_PATH = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_./-]{0,511}")
_SENT_ID = re.compile(r"[0-9]{1,16}", re.ASCII)


class TelegramSettings(AccountSettings):
    """Keys of an account of `platforms.telegram`."""

    api_base: str = "https://api.telegram.org"
    """Another one for a Bot API server of one's own."""
    bot_username: Annotated[str, Field(pattern=r"^(@?[A-Za-z0-9_]{1,64})?$")] = ""
    """The bot's name, so that commands to other bots of a group are left to them."""
    channel_posts: bool = False
    """Whether posts in channels are answered. They do not tell who wrote them: with two bots in a
    channel that both answer, neither ever stops."""


class Target(Body):
    """Where a reply goes."""

    chat_id: Id
    message_id: Id
    topic_id: Id | None = None

    def fields(self) -> dict[str, object]:
        """Return the place as methods of the API want it."""
        topic = {} if self.topic_id is None else {"message_thread_id": self.topic_id}
        return {"chat_id": self.chat_id, **topic}


class Telegram:
    """The adapter of one bot; a `PlatformAdapter`, `Editing`, `ShowsTyping`, and `Connects`."""

    methods = frozenset({"POST"})
    limits = Limits(TextLimit(MAX_TEXT_UNITS, Unit.UTF16))
    capabilities = Capabilities(edits=True, typing=True, typing_s=5.0, buttons=True)
    unreadable: HTTPAnswer | None = HTTPAnswer()

    def __init__(self, account: Account[TelegramSettings], client: httpx.AsyncClient) -> None:
        settings = account.settings
        # Without a webhook there is none, and no request is authentic.
        secrets = account.keys.get(WEBHOOK_SECRET) or ()
        self._secrets = [_checked_secret(value) for value in secrets]
        self._own_ids = frozenset(_bot_id(value) for value in account.keys[BOT_TOKEN])
        self._root = f"/bot{account.keys[BOT_TOKEN].text}"
        self._username = settings.bot_username.removeprefix("@").lower()
        self._api_base = settings.api_base
        self._answers_channels = settings.channel_posts
        self._api = PlatformAPI(client, account.platform, settings.api_base, judge)
        polled = PlatformAPI(client, account.platform, settings.api_base, judge_poll)
        self._polling = Polling(polled, self._root)

    def admit(self, request: RawRequest) -> None:
        """See `PlatformAdapter.admit`: the header is the secret."""
        offered = request.header(HEADER)
        # A list: each secret is compared, whichever was right.
        if not any([hmac.compare_digest(offered, secret) for secret in self._secrets]):
            raise refused()

    def verify(self, request: RawRequest, now: float) -> Verified:  # noqa: ARG002 -- not dated
        """See `PlatformAdapter.verify`."""
        self.admit(request)
        return Verified(request, request.body)

    def connect(self) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """See `Connects.connect`; by long polling."""
        return self._polling.open()

    def read(self, verified: Verified) -> Received:
        """See `PlatformAdapter.read`; edits and all that nobody said are only acknowledged."""
        update = read_fields(Update, parse_object(verified.payload))
        if update.callback_query is not None:
            press = self._press(update.update_id, update.callback_query)
            answer = _pressed(update.callback_query.id)
            return Received(() if press is None else (press,), answer)
        message = self._message(update)
        return Received(() if message is None else (message,))

    def _message(self, update: Update) -> PlatformMessage | None:
        said, sender_id = update.message, said_by(update, self._own_ids)
        if update.channel_post is not None and self._answers_channels:
            said = update.channel_post
            sender_id = (said.sender_chat or said.chat).id
        if said is None or sender_id is None:
            return None
        content, files = content_for(said, self._username), said.attachments()
        if content is None or not (content.strip() or files):
            return None
        topic = None if said.topic_id is None else str(said.topic_id)
        return PlatformMessage(
            event_id=str(update.update_id),
            sender_id=str(sender_id),
            content=content,
            place=(str(said.chat.id), topic or ""),
            timestamp=said.date,
            attachments=files,
            thread_id=topic,
            address=_address(said),
            in_group=said.chat.type != PRIVATE,
        )

    def _press(self, update_id: int, button: Pressed) -> PlatformMessage | None:
        below, sender = button.message, button.sender
        if below is None or sender is None or sender.is_bot or not is_ours(button.data):
            return None
        topic = None if below.topic_id is None else str(below.topic_id)
        return PlatformMessage(
            event_id=str(update_id),
            sender_id=str(sender.id),
            content=button.data,
            place=(str(below.chat.id), topic or ""),
            thread_id=topic,
            address=_address(below),
            in_group=below.chat.type != PRIVATE,
        )

    async def send(self, part: ReplyPart, address: Address, *, deadline: Deadline) -> str | None:
        """See `PlatformAdapter.send`; the first part quotes the message that it answers."""
        target = read_fields(Target, address)
        body = {
            **target.fields(),
            "text": part.text,
            # Telegram would fetch an address in the text before anybody chose to open it.
            "link_preview_options": {"is_disabled": True},
        }
        if part.index == 0:
            quoted = {"message_id": target.message_id, "allow_sending_without_reply": True}
            body["reply_parameters"] = quoted
        body |= _keyboard(part)
        result = (await self._call("sendMessage", body, deadline)).get("result")
        sent_id = result.get("message_id") if isinstance(result, dict) else None
        return None if sent_id is None else str(sent_id)

    async def edit(
        self, sent_id: str, part: ReplyPart, address: Address, *, deadline: Deadline
    ) -> None:
        """See `Editing.edit`; the same text once more is no error."""
        if not _SENT_ID.fullmatch(sent_id):
            raise Rejected("telegram has no message with this id")
        body = {
            "chat_id": read_fields(Target, address).chat_id,
            "message_id": int(sent_id),
            "text": part.text,
            "link_preview_options": {"is_disabled": True},
            **_keyboard(part),
        }
        try:
            await self._call("editMessageText", body, deadline)
        except NotModified:
            return

    async def show_typing(self, address: Address, *, deadline: Deadline) -> None:
        """See `ShowsTyping.show_typing`; it lasts five seconds, or until we say something."""
        target = read_fields(Target, address)
        await self._call("sendChatAction", {**target.fields(), "action": "typing"}, deadline)

    async def locate(
        self,
        attachment: Attachment,
        address: Address,  # noqa: ARG002 -- a file's id is all that it takes
        *,
        deadline: Deadline,
    ) -> FileRequest:
        """See `LocatesFiles.locate`; Telegram gives bots files of up to 20 MB ("getFile")."""
        body = {"file_id": attachment.url.removeprefix(f"{SCHEME}:")}
        result = (await self._call("getFile", body, deadline)).get("result")
        path = result.get("file_path") if isinstance(result, dict) else None
        # A server of one's own in local mode gives a path of its own disk.
        if not isinstance(path, str) or not _FILE_PATH.fullmatch(path) or ".." in path:
            raise Rejected("telegram has no address for this file")
        return FileRequest.below(self._api_base, f"/file{self._root}/{path}")

    async def _call(
        self, method: str, body: Mapping[str, object], deadline: Deadline
    ) -> Mapping[str, Any]:
        path = f"{self._root}/{method}"
        try:
            answer = await self._api.call(APIRequest.of_json(path, body), deadline=deadline)
        except Migrated as exc:
            # The ids of messages begin anew in the supergroup: ours would quote another one.
            kept = {name: value for name, value in body.items() if name != "reply_parameters"}
            moved = APIRequest.of_json(path, {**kept, "chat_id": exc.chat_id})
            answer = await self._api.call(moved, deadline=deadline)
        return answer.data


PLATFORM = Platform(
    TelegramSettings,
    Telegram,
    (
        SecretRule(WEBHOOK_SECRET, only_for="webhook"),
        SecretRule(BOT_TOKEN, min_bytes=MIN_TOKEN_BYTES),
    ),
    connects=True,
)


def _checked_secret(value: bytes) -> bytes:
    if not _SECRET.fullmatch(value):
        raise ValueError(f"{WEBHOOK_SECRET} is not 1 to 256 of A-Z, a-z, 0-9, _ and -")
    return value


def _bot_id(token: bytes) -> int:
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise ValueError(f"{BOT_TOKEN} is not digits, a colon, and letters of A-Z, a-z, 0-9, _, -")
    return int(match[1])


def _keyboard(part: ReplyPart) -> dict[str, object]:
    buttons = buttons_of(part)
    keys = [{"text": button.label, "callback_data": button.value} for button in buttons]
    return {"reply_markup": {"inline_keyboard": [keys]}} if keys else {}


def _address(said: Said | PressedBelow) -> dict[str, object]:
    return {
        "chat_id": said.chat.id,
        "message_id": said.message_id,
        "topic_id": said.topic_id,
    }


def _pressed(query_id: str) -> HTTPAnswer:
    """Return the answer that is a call itself: it ends the button's progress bar."""
    return HTTPAnswer.of_json({"method": "answerCallbackQuery", "callback_query_id": query_id})
