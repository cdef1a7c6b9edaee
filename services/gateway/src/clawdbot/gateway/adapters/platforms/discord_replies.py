"""Replies to Discord: through the interaction while it lasts, through the bot afterwards.

The first part edits the deferred answer, so sending it again changes nothing. Further parts are
follow-up messages, for which Discord has no idempotency key: one that was sent just before a crash,
or whose answer was lost, appears twice. What the bot sends carries a `nonce` that Discord enforces
for some minutes.

Source: Discord, "Receiving and Responding" (follow-up messages, 15 minutes), "Message Resource"
(create message, `nonce` of up to 25 characters, embeds), "Rate Limits" (`retry_after`), "API
Reference" (user agent) and "Opcodes and Status Codes" (JSON error codes).
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from typing import Annotated
from urllib.parse import quote

import httpx
from pydantic import Field

from clawdbot.gateway.adapters.fields import Body
from clawdbot.gateway.adapters.http_errors import LONGEST_WAIT_S
from clawdbot.gateway.adapters.platforms.api import APIAnswer, APIRequest, PlatformAPI
from clawdbot.gateway.adapters.platforms.buttons import Button, buttons_of
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, Overloaded, Rejected
from clawdbot.schema.messages import Attachment

log = logging.getLogger(__name__)

TOKEN_LIFE_S = 15 * 60.0
SETTLING_S = 5.0
"""Our reply may overtake our acknowledgement: until then Discord does not know the interaction."""
SETTLING_RETRY_S = 1.0
MAX_NONCE_CHARS = 25
MAX_EMBEDS = 10
ACTION_ROW, BUTTON = 1, 2
SUCCESS, DANGER = 3, 4
"""Styles of buttons."""
MAX_TITLE_CHARS = 256
MAX_URL_CHARS = 2048
UNKNOWN_MESSAGE, UNKNOWN_WEBHOOK, INVALID_WEBHOOK_TOKEN = 10008, 10015, 50027
NO_MENTIONS = {"parse": list[str]()}
"""Nobody is pinged, whatever a model writes."""
_BOT_TOKEN = re.compile(r"[A-Za-z0-9_.=-]+")

Snowflake = Annotated[str, Field(pattern=r"^[0-9]{1,20}$")]
Token = Annotated[str, Field(pattern=r"^[!-~]{8,2048}$")]


class ReplyAddress(Body):
    """Where a reply to an interaction goes."""

    application_id: Snowflake
    token: Token = Field(repr=False)
    channel_id: Snowflake | None
    said_at_ms: int
    """When Discord made the interaction, Unix milliseconds."""

    @property
    def webhook(self) -> str:
        """The path that the interaction's token opens."""
        return f"/webhooks/{self.application_id}/{quote(self.token, safe='')}"


class InteractionOver(Rejected):
    """The interaction's token does not work, any more or at all."""


class MessageUnknown(Rejected):
    """Somebody deleted the message, or it is not there yet."""


class Replies:
    """Speaks with Discord's API for one application.

    Args:
        client: without redirects.
        api_base: with the API's version.
        bot_token: "" when there is none.
        contact: URL that Discord may look us up by.
        now: Unix seconds.

    Raises:
        ValueError: `bot_token` cannot be one.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        api_base: str,
        bot_token: str,
        contact: str,
        now: Callable[[], float],
    ) -> None:
        if bot_token and not _BOT_TOKEN.fullmatch(bot_token):
            raise ValueError("the bot token is not one; leave out 'Bot' and quotes")
        self._api = PlatformAPI(client, "discord", api_base, _judged)
        self._bot_token = bot_token
        self._headers = {
            "Content-Type": "application/json",
            "User-Agent": f"DiscordBot ({contact}, 0.1.0)",
        }
        self._now = now

    async def say(self, part: ReplyPart, to: ReplyAddress, *, deadline: Deadline) -> str | None:
        """Send `part`; return the message's id."""
        body = _body(part)
        if self._is_open(to):
            is_first = _replaces_thinking(part)
            method, path = ("PATCH", "/messages/@original") if is_first else ("POST", "")
            try:
                return await self._by_token(method, path, body, to, deadline)
            except InteractionOver:
                log.info("interaction ended early")
        body |= {"nonce": part.idempotency_key[:MAX_NONCE_CHARS], "enforce_nonce": True}
        return await self._by_bot("POST", "", body, to, deadline)

    def is_keyed(self, part: ReplyPart, to: ReplyAddress) -> bool:
        """Return whether `part`, sent twice, shows once: as an edit, or under a nonce."""
        return _replaces_thinking(part) or not self._is_open(to)

    async def rewrite(
        self, sent_id: str, part: ReplyPart, to: ReplyAddress, *, deadline: Deadline
    ) -> None:
        """Make the message `sent_id` what `part` is."""
        body = _body(part)
        path = f"/messages/{quote(sent_id, safe='')}"
        if self._is_open(to):
            await self._by_token("PATCH", path, body, to, deadline)
        else:
            await self._by_bot("PATCH", path.removeprefix("/messages"), body, to, deadline)

    def _age_s(self, to: ReplyAddress) -> float:
        return self._now() - to.said_at_ms / 1000

    def _is_open(self, to: ReplyAddress) -> bool:
        return self._age_s(to) < TOKEN_LIFE_S

    async def _by_token(
        self, method: str, path: str, body: object, to: ReplyAddress, deadline: Deadline
    ) -> str | None:
        request = APIRequest(method, to.webhook + path, _json(body), self._headers)
        try:
            return _id(await self._api.call(request, deadline=deadline))
        except (InteractionOver, MessageUnknown):
            if self._age_s(to) >= SETTLING_S:
                raise
        # Without the cause, which says "for good".
        raise Overloaded("discord does not know yet", retry_after_s=SETTLING_RETRY_S)

    async def _by_bot(
        self, method: str, path: str, body: object, to: ReplyAddress, deadline: Deadline
    ) -> str | None:
        if not self._bot_token or to.channel_id is None:
            raise InteractionOver("the interaction is over, and there is no bot to answer it")
        headers = {**self._headers, "Authorization": f"Bot {self._bot_token}"}
        where = f"/channels/{to.channel_id}/messages{path}"
        request = APIRequest(method, where, _json(body), headers)
        return _id(await self._api.call(request, deadline=deadline))


def _judged(answer: APIAnswer) -> ClawdbotError | None:
    code = answer.data.get("code")
    if answer.status == httpx.codes.TOO_MANY_REQUESTS:
        wait_s = answer.data.get("retry_after")
        # More exact than the header, which an answer of the proxy in front has alone.
        if isinstance(wait_s, int | float) and wait_s >= 0:
            return Overloaded("discord asks to wait", retry_after_s=min(wait_s, LONGEST_WAIT_S))
    if answer.status == httpx.codes.UNAUTHORIZED and code == INVALID_WEBHOOK_TOKEN:
        return InteractionOver("discord says that the interaction is over")
    if answer.status == httpx.codes.NOT_FOUND and code == UNKNOWN_WEBHOOK:
        return InteractionOver("discord does not know the interaction")
    if answer.status == httpx.codes.NOT_FOUND and code == UNKNOWN_MESSAGE:
        return MessageUnknown("discord does not know the message; somebody may have deleted it")
    return None


def _replaces_thinking(part: ReplyPart) -> bool:
    return part.index == 0 and part.reply.part == 0


def _body(part: ReplyPart) -> dict[str, object]:
    body: dict[str, object] = {"content": part.text, "allowed_mentions": NO_MENTIONS}
    files = part.reply.attachments if part.is_last else ()
    if embeds := [_embed(file) for file in files if _can_be_linked(file)][:MAX_EMBEDS]:
        body["embeds"] = embeds
    if components := [_component(button) for button in buttons_of(part)]:
        body["components"] = [{"type": ACTION_ROW, "components": components}]
    return body


def _component(button: Button) -> dict[str, object]:
    style = SUCCESS if button.is_approval else DANGER
    return {"type": BUTTON, "style": style, "label": button.label, "custom_id": button.value}


def _can_be_linked(file: Attachment) -> bool:
    return file.url.startswith(("https://", "http://")) and len(file.url) <= MAX_URL_CHARS


def _embed(file: Attachment) -> dict[str, object]:
    title = (file.name or file.url)[:MAX_TITLE_CHARS]
    link: dict[str, object] = {"title": title, "url": file.url}
    return {**link, "image": {"url": file.url}} if file.type == "image" else link


def _json(body: object) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()


def _id(answer: APIAnswer) -> str | None:
    sent_id = answer.data.get("id")
    return sent_id if isinstance(sent_id, str) else None
