"""Slack: Events API and slash commands in, `chat.postMessage` and `response_url` out.

What comes in comes to a request URL, as told here, or over Socket Mode (`slack_socket`).

In: `X-Slack-Signature` is `v0=` and the hex HMAC-SHA256 of `v0:<timestamp>:<body>` under the
signing secret, five minutes both ways ("Verifying requests from Slack", slack_sdk's
SignatureVerifier). Slack wants an answer within 3 s and sends an event again at once, after 1 and
after 5 minutes ("The Events API"). A mention arrives as `message` and as `app_mention`: channel and
`ts` make them one. What bots, we ourselves, edits and deletions say is acknowledged and left alone;
so are interactions but presses of our buttons. A slash command is never sent again, so that a
failure is told to its sender; where a press could not be kept, Slack shows a warning sign.

Out: parts go to `chat.postMessage` in the message's thread, under a `client_msg_id` that stays the
same at each attempt. The method's error table names that id, its argument table does not: sends are
at least once. A slash command is answered at its `response_url`, which works five times within 30
minutes ("Handling user interaction"); beyond that the Web API takes over, if the app is in the
channel. `response_url` and `chat.postEphemeral` have no key against repetition.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Literal
from urllib.parse import urlencode

import httpx

from clawdbot.gateway.adapters.fields import read_fields
from clawdbot.gateway.adapters.guarded_http import FileRequest
from clawdbot.gateway.adapters.platforms.api import APIRequest, PlatformAPI
from clawdbot.gateway.adapters.platforms.forms import is_form, parse_form
from clawdbot.gateway.adapters.platforms.freshness import fresh_seconds
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
from clawdbot.gateway.adapters.platforms.requests import (
    HTTPAnswer,
    RawRequest,
    Verified,
    refused,
)
from clawdbot.gateway.adapters.platforms.slack_actions import Pressed, pressed, shown
from clawdbot.gateway.adapters.platforms.slack_errors import judge_method, judge_response
from clawdbot.gateway.adapters.platforms.slack_payloads import (
    Command,
    Envelope,
    escaped,
    is_direct,
    said,
)
from clawdbot.gateway.adapters.platforms.slack_socket import SocketMode
from clawdbot.gateway.adapters.strict_json import parse_object
from clawdbot.gateway.domain.deliveries import SendTraits
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.gateway.domain.splitting import TextLimit
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import InvalidMessage, Rejected
from clawdbot.schema.messages import Attachment

TIMESTAMP, SIGNATURE = "x-slack-request-timestamp", "x-slack-signature"
SIGNING_SECRET, BOT_TOKEN, APP_TOKEN = "signing_secret", "bot_token", "app_token"
MAX_AGE_S = 300.0
MAX_TEXT_CHARS = 3_900
"""Slack advises 4,000 and cuts at 40,000; escaping makes a character five at most."""
MAX_RESPONSES = 5
RESPONSE_HOSTS = frozenset({"hooks.slack.com", "hooks.slack-gov.com"})
FILE_HOSTS = frozenset({"files.slack.com", "files.slack-gov.com"})
OWN_COMMANDS = frozenset({"/approve", "/deny", "/stop"})
"""Commands whose name is what is said; of others only the text is."""
NOT_KEPT = "That did not reach me. Please send it again."


class SlackSettings(AccountSettings):
    """Keys of an account of `platforms.slack`."""

    api_base: str = "https://slack.com/api"
    """Where the Web API is; GovSlack has `https://slack-gov.com/api`."""
    command_replies: Literal["ephemeral", "in_channel"] = "ephemeral"
    """Who sees the answer to a slash command: its sender only, or the channel."""


class Slack:
    """The adapter of one account; a `PlatformAdapter` and `Editing`."""

    methods = frozenset({"POST"})
    limits = Limits(TextLimit(MAX_TEXT_CHARS))
    capabilities = Capabilities(edits=True, buttons=True)
    unreadable: HTTPAnswer | None = HTTPAnswer()

    def __init__(self, account: Account[SlackSettings], client: httpx.AsyncClient) -> None:
        settings = account.settings
        # Without a request URL there is none, and no request is authentic.
        self._keys = account.keys.get(SIGNING_SECRET) or ()
        self._headers = {"Authorization": f"Bearer {account.keys[BOT_TOKEN].text}"}
        self._api = PlatformAPI(client, account.platform, settings.api_base, judge_method)
        self._responses = PlatformAPI(client, account.platform, "", judge_response)
        self._socket = SocketMode(self._api, _app_token(account), settings.api_base)
        self._visibility = settings.command_replies
        self._origin = _origin(settings.api_base)
        self._api_base = settings.api_base

    def admit(self, request: RawRequest) -> None:
        """See `PlatformAdapter.admit`."""
        for name in (TIMESTAMP, SIGNATURE):
            request.header(name)

    def verify(self, request: RawRequest, now: float) -> Verified:
        """See `PlatformAdapter.verify`."""
        stamp, offered = request.header(TIMESTAMP), request.header(SIGNATURE)
        fresh_seconds(stamp, now, MAX_AGE_S)
        signed = b"v0:%b:%b" % (stamp, request.body)
        matches = [hmac.compare_digest(_signature(key, signed), offered) for key in self._keys]
        if not any(matches):
            raise refused()
        return Verified(request, request.body)

    def connect(self) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """See `Connects.connect`; by Socket Mode."""
        return self._socket.open()

    def read(self, verified: Verified) -> Received:
        """See `PlatformAdapter.read`."""
        if not is_form(verified.payload):
            return self._event(read_fields(Envelope, parse_object(verified.payload)))
        form = parse_form(verified.payload)
        if "payload" in form:
            found = pressed(parse_object(form["payload"].encode()))
            return Received() if found is None else Received((self._press(found),))
        if "ssl_check" in form:
            return Received()
        return self._command(read_fields(Command, form))

    def _event(self, envelope: Envelope) -> Received:
        if envelope.type == "url_verification":
            return _challenged(envelope)
        if envelope.type != "event_callback" or envelope.event is None:
            return Received()
        message = said(envelope.event, envelope.own_ids)
        if message is None:
            return Received()
        return Received(
            (
                PlatformMessage(
                    event_id=message.event_id,
                    sender_id=message.user,
                    content=message.content(envelope.own_ids),
                    place=(message.channel, message.thread or ""),
                    timestamp=int(message.ts.partition(".")[0]),
                    attachments=message.attachments(),
                    thread_id=message.thread,
                    address={"channel": message.channel, "thread_ts": message.thread},
                    in_group=not is_direct(message.channel),
                ),
            )
        )

    def _command(self, command: Command) -> Received:
        self._require_slack(command.response_url)
        is_shared = self._visibility == "in_channel"
        channel, user = command.channel_id, command.user_id
        # What only its sender sees must not come up when others talk with us in this channel.
        place = (channel, "") if is_shared or is_direct(channel) else (channel, "", user)
        message = PlatformMessage(
            event_id=command.trigger_id,
            sender_id=user,
            content=_spoken(command),
            place=place,
            address={"response_url": command.response_url, "channel": channel, "user": user},
            holds_token=True,
            in_group=is_shared and not is_direct(channel),
        )
        # Without this answer Slack hides the command itself from the channel.
        shown = HTTPAnswer.of_json({"response_type": "in_channel"})
        told = HTTPAnswer.of_json({"response_type": "ephemeral", "text": NOT_KEPT})
        return Received((message,), shown if is_shared else HTTPAnswer(), on_failure=told)

    def _press(self, button: Pressed) -> PlatformMessage:
        channel, user = button.channel.id, button.user.id
        is_private = button.container.is_ephemeral
        address = {"channel": channel, "thread_ts": button.thread}
        if is_private:
            self._require_slack(button.response_url)
            address = {"response_url": button.response_url, "channel": channel, "user": user}
        place = (channel, "", user) if is_private and not is_direct(channel) else None
        return PlatformMessage(
            event_id=button.trigger_id,
            sender_id=user,
            content=button.said,
            place=place or (channel, button.thread or ""),
            thread_id=button.thread,
            address=address,
            holds_token=is_private,
            in_group=not (is_private or is_direct(channel)),
        )

    def _require_slack(self, url: str) -> None:
        try:
            origin = _origin(url)
        except ValueError:
            origin = ("", "", None)
        scheme, host, port = origin
        is_slack = scheme == "https" and host in RESPONSE_HOSTS and port is None
        if not is_slack and origin != self._origin:
            raise InvalidMessage("the field 'response_url' cannot be used", field="response_url")

    async def send(self, part: ReplyPart, address: Address, *, deadline: Deadline) -> str | None:
        """See `PlatformAdapter.send`; files are not sent."""
        if "response_url" not in address:
            return await self._post(part, address, deadline)
        if part.index < MAX_RESPONSES and await self._responded(part, address, deadline):
            return None
        if self._visibility == "in_channel":
            return await self._post(part, address, deadline)
        where = {"channel": address["channel"], "user": address["user"]}
        await self._call("/chat.postEphemeral", {**where, **_shown(part)}, deadline)
        return None

    def traits(self, part: ReplyPart, address: Address) -> SendTraits:  # noqa: ARG002 -- as `Keyed`
        """See `Keyed.traits`; what a slash command is answered has neither key nor id."""
        has_key = "response_url" not in address
        return SendTraits(shows_once=has_key, edits=has_key)

    async def edit(
        self, sent_id: str, part: ReplyPart, address: Address, *, deadline: Deadline
    ) -> None:
        """See `Editing.edit`."""
        change = {"channel": address["channel"], "ts": sent_id, **_shown(part)}
        await self._call("/chat.update", {**change, "parse": "none"}, deadline)

    async def locate(
        self,
        attachment: Attachment,
        address: Address,  # noqa: ARG002 -- a file's id is all that it takes
        *,
        deadline: Deadline,
    ) -> FileRequest:
        """See `LocatesFiles.locate`; it takes the scope `files:read` ("files.info")."""
        form = urlencode({"file": attachment.url.removeprefix("slack:")}).encode()
        headers = {**self._headers, "Content-Type": "application/x-www-form-urlencoded"}
        request = APIRequest("POST", "/files.info", form, headers)
        file = (await self._api.call(request, deadline=deadline)).data.get("file")
        known = file if isinstance(file, dict) else {}
        url = known.get("url_private_download") or known.get("url_private")
        if not isinstance(url, str):
            raise Rejected("slack has no address for this file")
        # A file that lies elsewhere must not get our token, and without one Slack shows a login.
        return FileRequest.at(url, FILE_HOSTS, self._api_base, self._headers)

    async def _post(self, part: ReplyPart, address: Address, deadline: Deadline) -> str | None:
        digest = hashlib.sha256(part.idempotency_key.encode()).digest()
        message: dict[str, object] = {
            "channel": address["channel"],
            **_shown(part),
            "client_msg_id": str(uuid.UUID(bytes=digest[:16], version=4)),
            # Slack would fetch each link in the text, and so carry what stands in it outside.
            "unfurl_links": False,
            "unfurl_media": False,
        }
        if address.get("thread_ts"):
            message["thread_ts"] = address["thread_ts"]
        return await self._call("/chat.postMessage", message, deadline)

    async def _responded(self, part: ReplyPart, address: Address, deadline: Deadline) -> bool:
        """Return whether the `response_url` still takes answers."""
        answer = {
            "response_type": self._visibility,
            "replace_original": False,
            **_shown(part),
            "unfurl_links": False,
            "unfurl_media": False,
        }
        request = replace(APIRequest.of_json("", answer), url=address["response_url"])
        try:
            await self._responses.call(request, deadline=deadline)
        except Rejected:
            return False
        return True

    async def _call(self, path: str, body: object, deadline: Deadline) -> str | None:
        request = APIRequest.of_json(path, body, self._headers)
        ts = (await self._api.call(request, deadline=deadline)).data.get("ts")
        return ts if isinstance(ts, str) else None


PLATFORM = Platform(
    SlackSettings,
    Slack,
    (
        SecretRule(SIGNING_SECRET, only_for="webhook"),
        SecretRule(APP_TOKEN, only_for="socket"),
        SecretRule(BOT_TOKEN),
    ),
    connects=True,
)


def _app_token(account: Account[SlackSettings]) -> str:
    """Return the app-level token; "" where there is a request URL instead."""
    keys = account.keys.get(APP_TOKEN)
    if keys is None:
        return ""
    if not keys.first.startswith(b"xapp-"):
        raise ValueError(f"{APP_TOKEN} is no app-level token: those begin with xapp-")
    return keys.text


def _signature(key: bytes, signed: bytes) -> bytes:
    return b"v0=" + hmac.new(key, signed, hashlib.sha256).hexdigest().encode()


def _challenged(envelope: Envelope) -> Received:
    if envelope.challenge is None:
        raise InvalidMessage("the field 'challenge' is missing", field="challenge")
    return Received(answer=HTTPAnswer.of_json({"challenge": envelope.challenge}))


def _shown(part: ReplyPart) -> dict[str, object]:
    return {"text": escaped(part.text), **shown(part)}


def _spoken(command: Command) -> str:
    text = command.text.strip()
    if command.command in OWN_COMMANDS or not text:
        return f"{command.command} {text}".strip()
    return text


def _origin(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port as the client that calls `url` sees them.

    Raises:
        ValueError: it is no URL, or has a user in it.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as exc:
        raise ValueError("the address of an API cannot be used") from exc
    if parsed.userinfo or not parsed.host:
        raise ValueError("the address of an API cannot be used")
    return parsed.scheme, parsed.host, parsed.port
