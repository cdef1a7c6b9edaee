r"""DingTalk: a robot of an internal app by its outgoing webhook, and the app's event callback.

In, as the request tells:

- Robot messages have the headers `timestamp` and `sign`, the base64 HMAC-SHA256 of
  `<timestamp>\n<app secret>` under the app secret. **The body is not signed**: whoever sees
  one request may write any message in anybody's name for an hour. TLS alone hides it.
- Event callbacks have their signature in the query, and `callback_envelope` in `{"encrypt"}`; they
  bring nothing that anybody said. Checks of the address and events are answered with an encrypted
  "success", which ends DingTalk's retries.

Out: the session that came with the message, or the robot API, always by `replies: robot`, else once
the session is over. The session is named by the body, too: `robot` never answers elsewhere than to
the member or group that it names. No key against repetition, no edits.

Source: DingTalk open platform, "Messages that robots receive" (an hour of tolerance), "Configure
event callbacks"; see `dingtalk_messages` and `dingtalk_api` for theirs.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Annotated, Literal

import httpx
from pydantic import Field

from clawdbot.gateway.adapters.guarded_http import FileRequest
from clawdbot.gateway.adapters.platforms.callback_envelope import (
    AES_KEY_CHARS,
    MAX_AGE_S,
    Envelope,
    Signature,
)
from clawdbot.gateway.adapters.platforms.dingtalk_api import RobotAPI, Sessions
from clawdbot.gateway.adapters.platforms.dingtalk_messages import SCHEME, message_of
from clawdbot.gateway.adapters.platforms.freshness import fresh_milliseconds
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
from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest, Verified, refused
from clawdbot.gateway.adapters.refusals import BadPayload
from clawdbot.gateway.adapters.strict_json import parse_object
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.gateway.domain.splitting import TextLimit, Unit
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import Rejected
from clawdbot.schema.messages import Attachment

TIMESTAMP, SIGN = "timestamp", "sign"
APP_SECRET, EVENT_TOKEN, EVENT_AES_KEY = "app_secret", "event_token", "event_aes_key"
EVENT_SIGNATURES = ("msg_signature", "signature")
"""DingTalk sends both, with one value; older callbacks have the second alone."""
TEXT_BYTES = 5_000
"""A session takes 20,000 bytes, the robot API 15,000: JSON within JSON makes two of many one."""
BODY_BYTES = 262_144
SESSION_MARGIN_MS = 10_000
ACK = HTTPAnswer.of_json({})

Origin = Annotated[str, Field(pattern=r"^https?://[^/?#@\s]+$")]


class DingTalkSettings(AccountSettings):
    """Keys of an account of `platforms.dingtalk`."""

    app_key: Annotated[str, Field(pattern=r"^[!-~]{0,128}$")] = ""
    """The app's Client ID (AppKey): for the robot API, for files, and for event callbacks."""
    robot_code: Annotated[str, Field(pattern=r"^[!-~]{0,128}$")] = ""
    """The robot's RobotCode; left out it is the app key, as with internal apps."""
    replies: Literal["session", "robot"] = "session"
    """Where replies go: to the session that came with a message, and to the robot API when that is
    over; or always to the robot API."""
    api_base: Origin = "https://api.dingtalk.com"
    session_base: Origin = "https://oapi.dingtalk.com"
    """The only place to which a session may lead."""


class DingTalk:
    """The adapter of one robot; a `PlatformAdapter` and `LocatesFiles`."""

    methods = frozenset({"POST"})
    limits = Limits(TextLimit(TEXT_BYTES, Unit.BYTES), body_bytes=BODY_BYTES, ack_s=2.0)
    capabilities = Capabilities()
    unreadable: HTTPAnswer | None = ACK

    def __init__(
        self,
        account: Account[DingTalkSettings],
        client: httpx.AsyncClient,
        now: Callable[[], float] = time.time,
    ) -> None:
        settings = account.settings
        self._secrets = account.keys[APP_SECRET]
        self._envelope = _envelope(account)
        self._session_base = settings.session_base
        self._by_session = settings.replies == "session"
        self._sessions = Sessions(client, settings.session_base)
        self._robot = _robot(account, client)
        self._now = now

    def admit(self, request: RawRequest) -> None:
        """See `PlatformAdapter.admit`; of robots the headers are all that is signed."""
        if _is_event(request):
            _signature(request)
        else:
            self._require_sign(request)

    def verify(self, request: RawRequest, now: float) -> Verified:
        """See `PlatformAdapter.verify`."""
        if _is_event(request):
            return Verified(request, self._opened(request, now))
        self._require_sign(request)
        fresh_milliseconds(request.header(TIMESTAMP), now, MAX_AGE_S)
        return Verified(request, request.body)

    def read(self, verified: Verified) -> Received:
        """See `PlatformAdapter.read`."""
        values = parse_object(verified.payload)
        if _is_event(verified.request):
            return Received(answer=self._success(verified.request))
        message = message_of(values, self._session_base)
        return Received(() if message is None else (message,), ACK)

    async def send(self, part: ReplyPart, address: Address, *, deadline: Deadline) -> str | None:
        """See `PlatformAdapter.send`; what goes to a session has no id."""
        if self._is_open(address):
            try:
                await self._sessions.send(address["session"], part.text, deadline=deadline)
            except Rejected:
                if self._robot is None:
                    raise
            else:
                return None
        robot = self._required_robot()
        return await robot.send(
            address["conversation"], address["staff"], part.text, deadline=deadline
        )

    async def locate(
        self,
        attachment: Attachment,
        address: Address,  # noqa: ARG002 -- a file's code is all that it takes
        *,
        deadline: Deadline,
    ) -> FileRequest:
        """See `LocatesFiles.locate`; DingTalk names a public address for a while."""
        code = attachment.url.removeprefix(f"{SCHEME}:")
        return FileRequest(await self._required_robot().file_url(code, deadline=deadline))

    def _require_sign(self, request: RawRequest) -> None:
        stamp, offered = request.header(TIMESTAMP), request.header(SIGN)
        # A list: each secret is tried, whichever was right.
        if not any([hmac.compare_digest(sign_of(key, stamp), offered) for key in self._secrets]):
            raise refused()

    def _opened(self, request: RawRequest, now: float) -> bytes:
        signature = _signature(request)
        fresh_milliseconds(signature.timestamp.encode(), now, MAX_AGE_S)
        try:
            text = parse_object(request.body).get("encrypt")
        except BadPayload:
            raise refused() from None
        if self._envelope is None or not isinstance(text, str):
            raise refused()
        return self._envelope.opened(signature, text)

    def _success(self, request: RawRequest) -> HTTPAnswer:
        if self._envelope is None:
            raise refused()
        stamp, nonce = request.parameter("timestamp"), request.parameter("nonce")
        text, signature = self._envelope.sealed(b"success", stamp, nonce)
        return HTTPAnswer.of_json(
            {"msg_signature": signature, "timeStamp": stamp, "nonce": nonce, "encrypt": text}
        )

    def _is_open(self, address: Address) -> bool:
        ends_ms = address["until_ms"] - SESSION_MARGIN_MS
        return self._by_session and bool(address["session"]) and self._now() * 1000 < ends_ms

    def _required_robot(self) -> RobotAPI:
        if self._robot is None:
            raise Rejected("dingtalk's session is over, and the account has no app_key")
        return self._robot


PLATFORM = Platform(
    DingTalkSettings,
    DingTalk,
    (
        SecretRule(APP_SECRET),
        SecretRule(EVENT_TOKEN, is_required=False),
        SecretRule(EVENT_AES_KEY, min_bytes=AES_KEY_CHARS, is_required=False),
    ),
)


def sign_of(secret: bytes, stamp: bytes) -> bytes:
    """Return what the header `sign` has to be."""
    return base64.b64encode(hmac.digest(secret, stamp + b"\n" + secret, hashlib.sha256))


def _is_event(request: RawRequest) -> bool:
    is_robot = any(name == SIGN.encode() for name, _ in request.headers)
    return not is_robot and any(name in EVENT_SIGNATURES for name, _ in request.query)


def _signature(request: RawRequest) -> Signature:
    names = {name for name, _ in request.query}
    return Signature.of(request, next(name for name in EVENT_SIGNATURES if name in names))


def _envelope(account: Account[DingTalkSettings]) -> Envelope | None:
    token, aes_key = account.keys.get(EVENT_TOKEN), account.keys.get(EVENT_AES_KEY)
    if token is None and aes_key is None:
        return None
    if token is None or aes_key is None or not account.settings.app_key:
        raise ValueError(f"events need {EVENT_TOKEN}, {EVENT_AES_KEY} and app_key")
    return Envelope(token, aes_key, account.settings.app_key)


def _robot(account: Account[DingTalkSettings], client: httpx.AsyncClient) -> RobotAPI | None:
    settings = account.settings
    if not settings.app_key:
        if settings.replies == "robot":
            raise ValueError("replies by the robot API need app_key")
        return None
    credentials = (settings.app_key, account.keys[APP_SECRET].text)
    return RobotAPI(client, settings.api_base, credentials, settings.robot_code or settings.app_key)
