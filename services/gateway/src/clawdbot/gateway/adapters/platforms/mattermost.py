"""Mattermost: outgoing webhooks, slash commands and buttons in, posts of a bot out.

In: a webhook or command carries its own `token` in a form or JSON, and nothing is signed or dated:
whoever reads one request can write others, so that the way here needs TLS. Each webhook and command
has a token; all of them are lines of one secret. A press is known by the MAC in its context.
Nothing is ever sent again, so that the sender is told when something was not kept. Webhooks fire
for posts of bots too and do not say so: our own are known by the bot's name.

Out: parts are posts in the thread of what they answer. A webhook does not tell the thread, so a
post that is refused because it answers an answer goes to that one's root. `pending_post_id` is the
server's key against repetition, which it keeps for 30 s: sends are at least once. A slash command
is answered at its `response_url`, five times within 30 minutes, at the server that is configured,
whatever host the request names. Mattermost counts code points, 16,383 a post.

Sources: developers.mattermost.com (integrations, API reference of posts, users and files); the
server's source for `pending_post_id` (`deduplicateCreatePost`), root ids and `response_url`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import httpx
from pydantic import Field

from clawdbot.gateway.adapters.fields import read_fields
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
from clawdbot.gateway.adapters.platforms.mattermost_actions import Actions, Context
from clawdbot.gateway.adapters.platforms.mattermost_payloads import (
    ID,
    SCHEME,
    Command,
    Posted,
    Pressed,
    values_of,
)
from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest, Verified, refused
from clawdbot.gateway.adapters.refusals import BadPayload
from clawdbot.gateway.domain.deliveries import SendTraits
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.gateway.domain.splitting import TextLimit
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, InvalidMessage, Rejected
from clawdbot.schema.messages import Attachment

TOKEN, BOT_TOKEN = "token", "bot_token"
POSTS = "/api/v4/posts"
MAX_TEXT_CHARS = 16_383
MAX_RESPONSES = 5
NOT_A_ROOT = "api.post.create_post.root_id.app_error"
NOT_KEPT = "That did not reach me. Please send it again."
ACK = HTTPAnswer.of_json({})
"""Says nothing in the channel; text would be posted."""


class MattermostSettings(AccountSettings):
    """Keys of an account of `platforms.mattermost`."""

    api_base: Annotated[str, Field(pattern=r"^https?://")]
    """The server, such as `https://chat.example.org`."""
    bot_username: Annotated[str, Field(pattern=r"^@?[a-z0-9._-]{1,64}$")]
    """The bot's name; what it posts itself is left alone."""
    command_replies: Literal["ephemeral", "in_channel"] = "ephemeral"
    """Who sees the answer to a slash command: its sender only, or the channel."""


class NotARoot(Rejected):
    """The post that was to be answered is an answer itself."""


class Mattermost:
    """The adapter of one account; a `PlatformAdapter`, `Editing`, `ShowsTyping`, `LocatesFiles`."""

    methods = frozenset({"POST"})
    limits = Limits(TextLimit(MAX_TEXT_CHARS), body_bytes=262_144)
    unreadable: HTTPAnswer | None = ACK

    def __init__(self, account: Account[MattermostSettings], client: httpx.AsyncClient) -> None:
        settings = account.settings
        self._tokens = account.keys[TOKEN]
        self._headers = {"Authorization": f"Bearer {account.keys[BOT_TOKEN].text}"}
        self._api_base = settings.api_base
        self._api = PlatformAPI(client, account.platform, settings.api_base, judge)
        self._actions = Actions(account.keys[BOT_TOKEN], account.url)
        self._own_name = settings.bot_username.removeprefix("@")
        self._is_private = settings.command_replies == "ephemeral"
        self.capabilities = Capabilities(edits=True, typing=True, buttons=bool(account.url))

    def admit(self, request: RawRequest) -> None:
        """See `PlatformAdapter.admit`: what shows who it is stands in the body."""

    def verify(self, request: RawRequest, now: float) -> Verified:  # noqa: ARG002 -- not dated
        """See `PlatformAdapter.verify`."""
        try:
            values = values_of(request.body)
            context = values.get("context")
            if isinstance(context, dict):
                is_known = self._actions.are_pressed(values.get("channel_id"), context)
            else:
                is_known = self._has_token(values)
        except (BadPayload, InvalidMessage) as exc:
            raise refused() from exc
        if not is_known:
            raise refused()
        return Verified(request, request.body)

    def _has_token(self, values: Mapping[str, Any]) -> bool:
        offered = values.get("token")
        if not isinstance(offered, str) or not offered.isascii():
            return False
        # A list: each token is compared, whichever was right.
        return any([hmac.compare_digest(offered.encode(), token) for token in self._tokens])

    def read(self, verified: Verified) -> Received:
        """See `PlatformAdapter.read`."""
        values = values_of(verified.payload)
        if isinstance(values.get("context"), dict):
            press = self._press(
                read_fields(Pressed, values), read_fields(Context, values["context"])
            )
            told = HTTPAnswer.of_json({"ephemeral_text": NOT_KEPT})
            return Received(press, ACK, on_failure=told)
        if "command" in values:
            told = HTTPAnswer.of_json({"response_type": "ephemeral", "text": NOT_KEPT})
            return Received((self._command(read_fields(Command, values)),), ACK, on_failure=told)
        if "post_id" not in values:
            return Received(answer=ACK)
        told = HTTPAnswer.of_json({"response_type": "comment", "text": NOT_KEPT})
        return Received(self._post(read_fields(Posted, values)), ACK, on_failure=told)

    def _post(self, posted: Posted) -> tuple[PlatformMessage, ...]:
        files = posted.attachments()
        if posted.user_name == self._own_name or not (posted.text.strip() or files):
            return ()
        return (
            PlatformMessage(
                event_id=posted.post_id,
                sender_id=posted.user_id,
                content=posted.content,
                # The thread is not told, and one post in it would not know of the next.
                place=(posted.channel_id, ""),
                timestamp=posted.at_s,
                attachments=files,
                address={"channel_id": posted.channel_id, "post_id": posted.post_id},
                in_group=True,
            ),
        )

    def _command(self, command: Command) -> PlatformMessage:
        channel, user = command.channel_id, command.user_id
        address = {"channel_id": channel, "post_id": ""}
        return PlatformMessage(
            event_id=_digest("command", command.trigger_id),
            sender_id=user,
            content=command.content,
            # What only its sender sees must not come up when others talk with us in this channel.
            place=(channel, "", user) if self._is_private else (channel, ""),
            address={**address, "hook": command.hook} if self._is_private else address,
            holds_token=self._is_private,
            in_group=not self._is_private,
        )

    def _press(self, press: Pressed, context: Context) -> tuple[PlatformMessage, ...]:
        if context.said is None:
            return ()
        return (
            PlatformMessage(
                event_id=_digest("press", press.trigger_id),
                sender_id=press.user_id,
                content=context.said,
                place=(press.channel_id, ""),
                address={"channel_id": press.channel_id, "post_id": context.post_id},
                in_group=True,
            ),
        )

    async def send(self, part: ReplyPart, address: Address, *, deadline: Deadline) -> str | None:
        """See `PlatformAdapter.send`; files are not sent."""
        if "hook" in address:
            await self._respond(part, address["hook"], deadline)
            return None
        channel, post = address["channel_id"], address["post_id"]
        body = {
            "channel_id": channel,
            "message": part.text,
            "pending_post_id": part.idempotency_key,
            **self._actions.shown(part, channel, post),
        }
        try:
            answer = await self._call("POST", POSTS, {**body, "root_id": post}, deadline)
        except NotARoot:
            root = (await self._call("GET", f"{POSTS}/{post}", None, deadline)).get("root_id")
            answer = await self._call("POST", POSTS, {**body, "root_id": root or ""}, deadline)
        sent_id = answer.get("id")
        return sent_id if isinstance(sent_id, str) else None

    async def _respond(self, part: ReplyPart, hook: str, deadline: Deadline) -> None:
        if part.index >= MAX_RESPONSES:
            raise Rejected("mattermost takes five answers to a command")
        told = {"response_type": "ephemeral", "text": part.text}
        await self._call("POST", f"/hooks/commands/{hook}", told, deadline)

    def traits(self, part: ReplyPart, address: Address) -> SendTraits:  # noqa: ARG002 -- as `Keyed`
        """See `Keyed.traits`; what answers a slash command has no id."""
        return SendTraits(edits="hook" not in address)

    async def edit(
        self, sent_id: str, part: ReplyPart, address: Address, *, deadline: Deadline
    ) -> None:
        """See `Editing.edit`."""
        shown = self._actions.shown(part, address["channel_id"], address["post_id"])
        path = f"{POSTS}/{sent_id}/patch"
        await self._call("PUT", path, {"message": part.text, **shown}, deadline)

    async def show_typing(self, address: Address, *, deadline: Deadline) -> None:
        """See `ShowsTyping.show_typing`."""
        where = {"channel_id": address["channel_id"], "parent_id": address["post_id"]}
        await self._call("POST", "/api/v4/users/me/typing", where, deadline)

    async def locate(
        self,
        attachment: Attachment,
        address: Address,  # noqa: ARG002 -- a file's id is all that it takes
        *,
        deadline: Deadline,  # noqa: ARG002 -- nobody is asked
    ) -> FileRequest:
        """See `LocatesFiles.locate`; the bot must be in the file's channel."""
        file = attachment.url.removeprefix(f"{SCHEME}:")
        if not ID.fullmatch(file):
            raise Rejected("mattermost has no such file")
        return FileRequest.below(self._api_base, f"/api/v4/files/{file}", self._headers)

    async def _call(
        self, method: str, path: str, body: Mapping[str, object] | None, deadline: Deadline
    ) -> Mapping[str, Any]:
        content = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
        # An address for answers is a secret of its own and needs no token.
        shown = {} if path.startswith("/hooks/") else self._headers
        headers = {"Content-Type": "application/json; charset=utf-8", **shown}
        request = APIRequest(method, path, content, headers)
        return (await self._api.call(request, deadline=deadline)).data


PLATFORM = Platform(MattermostSettings, Mattermost, (SecretRule(TOKEN), SecretRule(BOT_TOKEN)))


def judge(answer: APIAnswer) -> ClawdbotError | None:
    """Return the error by which a thread's root has to be looked up; a `Judge`."""
    if answer.status == httpx.codes.BAD_REQUEST and answer.data.get("id") == NOT_A_ROOT:
        return NotARoot("mattermost takes answers to the root of a thread alone")
    return None


def _digest(kind: str, trigger_id: str) -> str:
    """Return an id as short as ours are; a trigger's is long, and new for every use."""
    return f"{kind}:{hashlib.sha256(trigger_id.encode()).hexdigest()}"
