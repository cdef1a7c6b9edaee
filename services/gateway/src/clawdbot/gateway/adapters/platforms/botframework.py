"""Bots of the Bot Framework: Microsoft Teams in full, and its other channels.

In: activities with a token of the Connector service (`botframework_callers`). The body is not
signed; its `serviceUrl`, where replies and our own token go, is in the token, and has to be one of
Microsoft's hosts or configured. An activity comes again when it is not answered in 15 s; it is kept
once by its id.

Out: a reply to the activity, under an access token of the bot's app (client credentials), which is
fetched again when it is refused. There is no key against repetition. 412 is "try again", like 502
and 504 ("Rate limit" of Teams). Edits are taken by Teams alone.

Source: learn.microsoft.com, "Authentication with the Bot Connector API", "Bot Framework Connector
REST API", "Optimize your bot with rate limiting in Teams", "Format your bot messages" (28 KB).
"""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import httpx
from pydantic import Field

from clawdbot.gateway.adapters.fields import read_fields
from clawdbot.gateway.adapters.platforms.access_tokens import AccessToken, AccessTokens, StaleToken
from clawdbot.gateway.adapters.platforms.activities import (
    BOT,
    MESSAGE,
    PERSONAL,
    Activity,
    Kind,
)
from clawdbot.gateway.adapters.platforms.api import APIAnswer, APIRequest, PlatformAPI
from clawdbot.gateway.adapters.platforms.botframework_callers import Callers
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
from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest, Verified, refused
from clawdbot.gateway.adapters.refusals import BadPayload
from clawdbot.gateway.adapters.strict_json import parse_object
from clawdbot.gateway.domain.deliveries import SendTraits
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.gateway.domain.splitting import TextLimit, Unit
from clawdbot.runtime.egress import Origin, origin_of
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, InvalidMessage, Unavailable

APP_PASSWORD = "app_password"  # noqa: S105 -- the name of one
SCOPE = "https://api.botframework.com/.default"
TEAMS = "msteams"
HOSTS = frozenset({"smba.trafficmanager.net", "smba.infra.gcc.teams.microsoft.com"})
DOMAIN = ".botframework.com"
"""Where channels other than Teams are."""
EARLY_S = 300.0
MAX_TEXT_UNITS = 12_000
"""An activity in Teams has about 28 KB, counted in UTF-16."""


class BotFrameworkSettings(AccountSettings):
    """Keys of an account of `platforms.botframework`."""

    app_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{8,64}$")]
    """The bot's Microsoft App ID."""
    login_tenant: Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]{1,128}$")] = "botframework.com"
    """The directory of a single-tenant bot; the default is for bots of several."""
    login_base: str = "https://login.microsoftonline.com"
    keys_url: str = "https://login.botframework.com/v1/.well-known/keys"
    service_urls: tuple[str, ...] = ()
    """Origins that replies may go to beside Microsoft's own, such as `https://smba.example.org`."""


class BotFramework:
    """The adapter of one bot; also `Editing`, `LooksUpKeys`."""

    methods = frozenset({"POST"})
    limits = Limits(TextLimit(MAX_TEXT_UNITS, Unit.UTF16), body_bytes=262_144)
    capabilities = Capabilities(edits=True)
    unreadable: HTTPAnswer | None = HTTPAnswer()

    def __init__(self, account: Account[BotFrameworkSettings], client: httpx.AsyncClient) -> None:
        settings, who = account.settings, account.platform
        self._app_id = settings.app_id
        self._callers = Callers(client, settings.keys_url, settings.app_id)
        self._origins = frozenset(_origin(url) for url in settings.service_urls)
        self._login = PlatformAPI(client, who, settings.login_base)
        self._login_path = f"/{settings.login_tenant}/oauth2/v2.0/token"
        self._password = account.keys[APP_PASSWORD].text
        self._api = PlatformAPI(client, who, "", judge)
        self._tokens = AccessTokens(self._fetched_token, EARLY_S)

    def admit(self, request: RawRequest) -> None:
        """See `PlatformAdapter.admit`."""
        request.header("authorization")

    async def look_up(self, request: RawRequest) -> None:
        """See `LooksUpKeys.look_up`."""
        await self._callers.look_up(request)

    def verify(self, request: RawRequest, now: float) -> Verified:
        """See `PlatformAdapter.verify`."""
        try:
            activity = parse_object(request.body)
        except BadPayload as exc:
            raise refused() from exc
        self._callers.verify(request, activity, now)
        return Verified(request, request.body)

    def read(self, verified: Verified) -> Received:
        """See `PlatformAdapter.read`."""
        values = parse_object(verified.payload)
        if read_fields(Kind, values).type != MESSAGE:
            return Received()
        activity = read_fields(Activity, values)
        files = activity.attachments()
        if self._is_bot(activity) or not (activity.content or files):
            return Received()
        self._require_known(activity.service_url)
        message = PlatformMessage(
            event_id=activity.event_id,
            sender_id=activity.sender_id,
            content=activity.content,
            place=(activity.conversation.id, ""),
            timestamp=activity.at_s,
            attachments=files,
            address=_address(activity),
            in_group=activity.conversation.kind not in {None, PERSONAL},
        )
        return Received((message,))

    def _is_bot(self, activity: Activity) -> bool:
        sender, own = activity.sender, {f"28:{self._app_id}"}
        if activity.recipient is not None:
            own.add(activity.recipient.id)
        return sender.role == BOT or sender.id in own

    def _require_known(self, url: str) -> None:
        try:
            origin = _origin(url)
        except ValueError as exc:
            raise _unknown() from exc
        is_known = origin.host in HOSTS or origin.host.endswith(DOMAIN)
        is_microsofts = is_known and (origin.scheme, origin.port) == ("https", 443)
        if not is_microsofts and origin not in self._origins:
            raise _unknown()

    async def send(self, part: ReplyPart, address: Address, *, deadline: Deadline) -> str | None:
        """See `PlatformAdapter.send`; files are not sent."""
        path = f"{_conversation(address)}/{quote(address['activity'], safe='')}"
        activity = _activity(part.text, address)
        answer = await self._call("POST", path, activity, deadline)
        sent_id = answer.data.get("id")
        return sent_id if isinstance(sent_id, str) else None

    def traits(self, part: ReplyPart, address: Address) -> SendTraits:  # noqa: ARG002 -- as `Keyed`
        """See `Keyed.traits`."""
        return SendTraits(edits=address["channel"] == TEAMS)

    async def edit(
        self, sent_id: str, part: ReplyPart, address: Address, *, deadline: Deadline
    ) -> None:
        """See `Editing.edit`."""
        path = f"{_conversation(address)}/{quote(sent_id, safe='')}"
        activity = {**_activity(part.text, address), "id": sent_id}
        await self._call("PUT", path, activity, deadline)

    async def _call(
        self, method: str, url: str, activity: dict[str, Any], deadline: Deadline
    ) -> APIAnswer:
        content = json.dumps(activity, ensure_ascii=False).encode()

        async def call(token: str) -> APIAnswer:
            headers = {
                "Content-Type": "application/json; charset=utf-8",
                "Authorization": f"Bearer {token}",
            }
            request = APIRequest(method, "", content, headers, url=url)
            return await self._api.call(request, deadline=deadline)

        return await self._tokens.used(call, deadline=deadline)

    async def _fetched_token(self, deadline: Deadline) -> AccessToken:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._app_id,
            "client_secret": self._password,
            "scope": SCOPE,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        request = APIRequest("POST", self._login_path, urlencode(form).encode(), headers)
        data = (await self._login.call(request, deadline=deadline)).data
        return AccessToken.read("botframework", data.get("access_token"), data.get("expires_in"))


PLATFORM = Platform(BotFrameworkSettings, BotFramework, (SecretRule(APP_PASSWORD),))


def judge(answer: APIAnswer) -> ClawdbotError | None:
    """Return what two statuses mean here that mean something else elsewhere; a `Judge`."""
    if answer.status == httpx.codes.UNAUTHORIZED:
        return StaleToken("botframework refused its token")
    if answer.status == httpx.codes.PRECONDITION_FAILED:
        return Unavailable("botframework asks to try again")
    return None


def _origin(url: str) -> Origin:
    try:
        return origin_of(url)
    except ClawdbotError as exc:
        raise ValueError("service_urls holds what is no plain http or https address") from exc


def _unknown() -> InvalidMessage:
    return InvalidMessage("the field 'serviceUrl' cannot be used", field="serviceUrl")


def _address(activity: Activity) -> dict[str, object]:
    return {
        "service_url": activity.service_url,
        "channel": activity.channel,
        "conversation": activity.conversation.id,
        "activity": activity.id,
        "person": activity.sender.id,
        "bot": None if activity.recipient is None else activity.recipient.id,
    }


def _conversation(address: Address) -> str:
    conversation = quote(address["conversation"], safe="")
    return f"{address['service_url'].rstrip('/')}/v3/conversations/{conversation}/activities"


def _activity(text: str, address: Address) -> dict[str, Any]:
    bot = {} if address["bot"] is None else {"from": {"id": address["bot"]}}
    return {
        "type": MESSAGE,
        "text": text,
        "textFormat": "markdown",
        "replyToId": address["activity"],
        "conversation": {"id": address["conversation"]},
        "recipient": {"id": address["person"]},
        **bot,
    }
