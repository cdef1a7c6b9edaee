"""Discord: application commands by interactions endpoint, answered when the answer is ready.

A command is acknowledged as deferred within three seconds; the reply then replaces "thinking".
Discord never sends an interaction again, so one that could not be kept is told so at once, to its
sender alone. Buttons of ours answer approvals; others, modals and autocompletion are acknowledged
and mean nothing to us; the same endpoint takes webhook events, which are acknowledged too.

Source: Discord, "Overview of Interactions" (signature, PING, 401), "Receiving and Responding"
(types, callbacks, 3 seconds, 15 minutes), "Webhook Events" (204); 2,000 characters are Unicode
code points (discord-api-docs issue 1315, answered by Discord).
"""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx

from clawdbot.gateway.adapters.fields import Body, read_fields
from clawdbot.gateway.adapters.guarded_http import FileRequest
from clawdbot.gateway.adapters.platforms.discord_commands import (
    presses_ours,
    read_command,
    read_press,
)
from clawdbot.gateway.adapters.platforms.discord_replies import Replies, ReplyAddress
from clawdbot.gateway.adapters.platforms.discord_signature import KEY_DIGITS, PublicKeys
from clawdbot.gateway.adapters.platforms.freshness import fresh_seconds
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
from clawdbot.gateway.domain.splitting import TextLimit
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.messages import Attachment

SIGNATURE, TIMESTAMP = "x-signature-ed25519", "x-signature-timestamp"
PUBLIC_KEY, BOT_TOKEN = "public_key", "bot_token"
MAX_AGE_S = 3600.0
"""Discord gives no window. A clock that is off must not cost the endpoint, and a replay within the
hour is the same interaction again, which is kept once."""
EVENT_PING, PING, COMMAND, COMPONENT, AUTOCOMPLETE, MODAL = 0, 1, 2, 3, 4, 5
EPHEMERAL = 64
FILE_HOSTS = frozenset({"cdn.discordapp.com", "media.discordapp.net"})


def _told(text: str) -> HTTPAnswer:
    """Return an answer that only the sender sees."""
    data = {"content": text, "flags": EPHEMERAL, "allowed_mentions": {"parse": []}}
    return HTTPAnswer.of_json({"type": 4, "data": data})


DEFERRED = HTTPAnswer.of_json({"type": 5})
NO_CONTENT = HTTPAnswer(204, content_type="application/json")
ANSWERS = {
    PING: HTTPAnswer.of_json({"type": 1}),
    COMPONENT: HTTPAnswer.of_json({"type": 6}),
    AUTOCOMPLETE: HTTPAnswer.of_json({"type": 8, "data": {"choices": []}}),
    MODAL: HTTPAnswer.of_json({"type": 6}),
}
FAILED = _told("That did not work. Please try again in a minute.\n未能收到，请稍后再试。")
UNREADABLE = _told("That cannot be answered: it is empty or too long.\n无法处理：内容为空或过长。")
STRANGER = _told(
    "I do not know you yet. Write to me in a direct message, or ask whoever runs me.\n"
    "我还不认识你，请先私信我，或联系管理员。"
)
FOR_PEOPLE = _told("Only people are answered.\n仅回复真人用户。")


class DiscordSettings(AccountSettings):
    """Keys of an account of `platforms.discord`."""

    api_base: str = "https://discord.com/api/v10"


class Envelope(Body):
    """What tells requests of Discord's apart."""

    type: int
    event: object = None
    """Only webhook events have one; their `type` means something else than an interaction's."""


class Discord:
    """The adapter of one application; a `PlatformAdapter` that is `Editing` too."""

    methods = frozenset({"POST"})
    limits = Limits(TextLimit(2000))
    capabilities = Capabilities(edits=True, buttons=True, files=True)
    unreadable: HTTPAnswer | None = UNREADABLE

    def __init__(
        self,
        account: Account[DiscordSettings],
        client: httpx.AsyncClient,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._keys = PublicKeys(account.keys[PUBLIC_KEY])
        self._api_base = account.settings.api_base
        bot = account.keys.get(BOT_TOKEN)
        self._replies = Replies(
            client,
            account.settings.api_base,
            bot.text if bot else "",
            account.url or "https://localhost",
            now,
        )

    def admit(self, request: RawRequest) -> None:
        """Pass when both headers are there."""
        request.header(SIGNATURE)
        request.header(TIMESTAMP)

    def verify(self, request: RawRequest, now: float) -> Verified:
        """Return the payload that the application's key signed within the hour."""
        stamp = request.header(TIMESTAMP)
        self._keys.check(request.header(SIGNATURE), stamp + request.body)
        fresh_seconds(stamp, now, MAX_AGE_S)
        return Verified(request, request.body)

    def read(self, verified: Verified) -> Received:
        """Return the command, or the answer to anything else."""
        values = parse_object(verified.payload)
        kind = read_fields(Envelope, values)
        if kind.type == EVENT_PING or kind.event is not None:
            return Received(answer=NO_CONTENT)
        if kind.type == COMPONENT and not presses_ours(values):
            return Received(answer=ANSWERS[COMPONENT])
        if kind.type not in {COMMAND, COMPONENT}:
            return Received(answer=ANSWERS.get(kind.type, NO_CONTENT))
        message = read_command(values) if kind.type == COMMAND else read_press(values)
        if message is None:
            return Received(answer=FOR_PEOPLE)
        return Received((message,), answer=DEFERRED, on_failure=FAILED, on_refusal=STRANGER)

    async def send(self, part: ReplyPart, address: Address, *, deadline: Deadline) -> str | None:
        """Answer the interaction; after 15 minutes post to its channel, when there is a bot."""
        to = read_fields(ReplyAddress, address)
        return await self._replies.say(part, to, deadline=deadline)

    def traits(self, part: ReplyPart, address: Address) -> SendTraits:
        """Say that only follow-ups to an interaction have no key."""
        is_keyed = self._replies.is_keyed(part, read_fields(ReplyAddress, address))
        return SendTraits(shows_once=is_keyed, edits=True)

    async def edit(
        self, sent_id: str, part: ReplyPart, address: Address, *, deadline: Deadline
    ) -> None:
        """Make an earlier reply what `part` is."""
        to = read_fields(ReplyAddress, address)
        await self._replies.rewrite(sent_id, part, to, deadline=deadline)

    async def locate(
        self,
        attachment: Attachment,
        address: Address,  # noqa: ARG002 -- the address of a file is all that it takes
        *,
        deadline: Deadline,  # noqa: ARG002 -- nobody is asked
    ) -> FileRequest:
        """See `LocatesFiles.locate`; the address works for a day or so."""
        return FileRequest.at(attachment.url, FILE_HOSTS, self._api_base)


PLATFORM = Platform(
    DiscordSettings,
    Discord,
    (
        SecretRule(PUBLIC_KEY, min_bytes=KEY_DIGITS),
        SecretRule(BOT_TOKEN, min_bytes=50, is_required=False),
    ),
)
