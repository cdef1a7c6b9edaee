"""WeChat official accounts (service and subscription accounts), in safe mode alone.

In: `callback_envelope` around XML; the app id is whom it is for. Without safe mode the signature
covers no body, so what has no `msg_signature` is refused. When the address is saved, WeChat asks by
GET for the `echostr`, under a signature of token, timestamp and nonce. It waits 5 s for an answer
and sends again up to three times, with the same `MsgId`; "success" is the answer of who replies
later, anything else shows the follower an error.

Out: customer service messages, which only verified accounts may send: some within 48 hours of what
the follower wrote. Errors are an `errcode` under 200. There is no key
against repetition. `stable_token` gives everybody who asks the same token, where `token` ends that
of the others. Typing shows for 15 s, within 30 s of a message.

Source: WeChat Official Accounts Platform, "Server configuration", "Message encryption", "Receiving
standard messages", "Customer service messages", "Customer service typing", "Get stable access
token", "Global return codes".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

import httpx
from pydantic import Field

from clawdbot.gateway.adapters.fields import read_fields
from clawdbot.gateway.adapters.guarded_http import FileRequest
from clawdbot.gateway.adapters.platforms.access_tokens import AccessToken, AccessTokens
from clawdbot.gateway.adapters.platforms.api import APIAnswer, APIRequest, PlatformAPI
from clawdbot.gateway.adapters.platforms.callback_envelope import (
    AES_KEY_CHARS,
    MAX_AGE_S,
    Envelope,
    Signature,
)
from clawdbot.gateway.adapters.platforms.callback_xml import encrypted_in, parse_fields
from clawdbot.gateway.adapters.platforms.errcodes import ErrCodes
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
from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest, Verified, refused
from clawdbot.gateway.adapters.platforms.weixin_messages import (
    EVENT,
    Kind,
    Said,
    has_address,
    media_file,
    message_of,
)
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.gateway.domain.splitting import TextLimit, Unit
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError
from clawdbot.schema.messages import Attachment

TOKEN, AES_KEY, APP_SECRET = "token", "encoding_aes_key", "app_secret"
TOKEN_PATH = "/cgi-bin/stable_token"  # noqa: S105 -- a path
SEND_PATH, TYPING_PATH = "/cgi-bin/message/custom/send", "/cgi-bin/message/custom/typing"
TEXT_BYTES = 1_800
"""Not documented for them. Passive replies take 2,047 bytes; others speak of 600 characters."""
BODY_BYTES = 65_536
EARLY_S = 300.0
ALREADY_TYPING = 45081
ACK = HTTPAnswer(body=b"success")
CODES = ErrCodes(
    "wechat",
    waits_s={45009: 3600.0, 45011: 60.0},
    stale_token=frozenset({40001, 40014, 42001}),
    # The address is not on the account's list, or its administrator has not confirmed it.
    mended=frozenset({40164, 89503}),
)
_ECHO = re.compile(r"[0-9A-Za-z_-]{1,64}")


class WeChatSettings(AccountSettings):
    """Keys of an account of `platforms.wechat`."""

    app_id: Annotated[str, Field(pattern=r"^[!-~]{1,64}$")]
    """`wx...`, from Basic configuration."""
    api_base: Annotated[str, Field(pattern=r"^https?://[!-~]+$")] = "https://api.weixin.qq.com"


class WeChat:
    """The adapter of one account; a `PlatformAdapter` that `ShowsTyping` and `LocatesFiles`."""

    methods = frozenset({"GET", "POST"})
    limits = Limits(TextLimit(TEXT_BYTES, Unit.BYTES), body_bytes=BODY_BYTES, ack_s=3.0)
    capabilities = Capabilities(typing=True, typing_s=15.0)
    unreadable: HTTPAnswer | None = ACK

    def __init__(self, account: Account[WeChatSettings], client: httpx.AsyncClient) -> None:
        settings = account.settings
        self._platform, self._api_base = account.platform, settings.api_base
        self._callback_tokens = account.keys[TOKEN]
        self._envelope = Envelope(account.keys[TOKEN], account.keys[AES_KEY], settings.app_id)
        self._app_id, self._secret = settings.app_id, account.keys[APP_SECRET].text
        self._api = PlatformAPI(client, account.platform, settings.api_base, _judge)
        self._tokens = AccessTokens(self._fetched_token, EARLY_S)

    def admit(self, request: RawRequest) -> None:
        """See `PlatformAdapter.admit`: what speaks for the sender stands in the query."""
        _signature(request)

    def verify(self, request: RawRequest, now: float) -> Verified:
        """See `PlatformAdapter.verify`."""
        signature = _signature(request)
        fresh_seconds(signature.timestamp.encode(), now, MAX_AGE_S)
        if request.method == "GET":
            return Verified(request, self._echo(request, signature))
        text = encrypted_in(request.body)
        return Verified(request, self._envelope.opened(signature, text))

    def read(self, verified: Verified) -> Received:
        """See `PlatformAdapter.read`."""
        if verified.request.method == "GET":
            return Received(answer=HTTPAnswer(body=verified.payload))
        values = parse_fields(verified.payload)
        if read_fields(Kind, values).MsgType == EVENT:
            return Received(answer=ACK)
        message = message_of(self._platform, read_fields(Said, values))
        return Received(() if message is None else (message,), ACK)

    async def send(self, part: ReplyPart, address: Address, *, deadline: Deadline) -> str | None:
        """See `PlatformAdapter.send`; WeChat tells no ids."""
        text = {"content": part.text}
        body = {"touser": address["user"], "msgtype": "text", "text": text}
        await self._call(SEND_PATH, body, deadline)
        return None

    async def show_typing(self, address: Address, *, deadline: Deadline) -> None:
        """See `ShowsTyping.show_typing`."""
        await self._call(TYPING_PATH, {"touser": address["user"], "command": "Typing"}, deadline)

    async def locate(
        self,
        attachment: Attachment,
        address: Address,  # noqa: ARG002 -- a file's id is all that it takes
        *,
        deadline: Deadline,
    ) -> FileRequest:
        """See `LocatesFiles.locate` ("Get temporary media")."""
        if has_address(attachment):
            return FileRequest(attachment.url)
        token = await self._tokens.get(deadline)
        return media_file(self._api_base, attachment, token)

    def _echo(self, request: RawRequest, signature: Signature) -> bytes:
        echo = request.parameter("echostr")
        # The signature does not cover it, so it must not become anything but a short word.
        if not signature.covers(self._callback_tokens) or not _ECHO.fullmatch(echo):
            raise refused()
        return echo.encode()

    async def _call(self, path: str, body: Mapping[str, Any], deadline: Deadline) -> None:
        async def call(token: str) -> APIAnswer:
            request = APIRequest.of_json(f"{path}?{urlencode({'access_token': token})}", body)
            return await self._api.call(request, deadline=deadline)

        await self._tokens.used(call, deadline=deadline)

    async def _fetched_token(self, deadline: Deadline) -> AccessToken:
        credentials = {"appid": self._app_id, "secret": self._secret}
        body = {"grant_type": "client_credential", **credentials}
        request = APIRequest.of_json(TOKEN_PATH, body)
        data = (await self._api.call(request, deadline=deadline)).data
        return AccessToken.read("wechat", data.get("access_token"), data.get("expires_in"))


PLATFORM = Platform(
    WeChatSettings,
    WeChat,
    (SecretRule(TOKEN), SecretRule(AES_KEY, min_bytes=AES_KEY_CHARS), SecretRule(APP_SECRET)),
)


def _signature(request: RawRequest) -> Signature:
    return Signature.of(request, "signature" if request.method == "GET" else "msg_signature")


def _judge(answer: APIAnswer) -> ClawdbotError | None:
    is_typing = answer.data.get("errcode") == ALREADY_TYPING
    return None if is_typing else CODES.judge(answer)
