"""WeCom (WeChat Work): an app of one's own company, by encrypted callbacks.

In: `callback_envelope` around XML; the corp id is whom it is for. When the address is saved, WeCom
asks for the decrypted `echostr` by GET, within 1 s. It waits 5 s for an answer and sends again up
to three times, with the same `MsgId`; an empty 200 is the answer of who replies later. Members
write to an app alone, never in groups.

Out: `message/send`, text of at most 2,048 bytes; errors are an `errcode` under 200. A member gets
at most 30 messages a minute and 1,000 an hour from an app; WeCom drops what is more without a word.
There is no key against repetition: `enable_duplicate_check` would also drop a second "yes" within
its interval. A token lasts two hours, and whoever asks meanwhile gets the same one.

Source: WeCom developer centre, "Receive messages and events", "Send app messages", "Get
access_token", "Global error codes".
"""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlencode

import httpx
from pydantic import Field

from clawdbot.gateway.adapters.fields import read_fields
from clawdbot.gateway.adapters.guarded_http import FileRequest
from clawdbot.gateway.adapters.platforms.access_tokens import AccessToken, AccessTokens
from clawdbot.gateway.adapters.platforms.api import APIRequest, PlatformAPI
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
from clawdbot.schema.errors import InvalidMessage, Rejected
from clawdbot.schema.messages import Attachment

TOKEN, AES_KEY, CORP_SECRET = "token", "encoding_aes_key", "corp_secret"
TOKEN_PATH, SEND_PATH = "/cgi-bin/gettoken", "/cgi-bin/message/send"
TEXT_BYTES = 2048
BODY_BYTES = 65_536
EARLY_S = 300.0
ACK = HTTPAnswer()
CODES = ErrCodes(
    "wecom",
    waits_s={45009: 60.0, 45033: 1.0},
    stale_token=frozenset({40001, 40014, 42001}),
    # The address is not on the app's list of trusted ones.
    mended=frozenset({60020}),
)
_ECHO = re.compile(rb"[0-9A-Za-z_-]{1,64}")


class WeComSettings(AccountSettings):
    """Keys of an account of `platforms.wecom`."""

    corp_id: Annotated[str, Field(pattern=r"^[!-~]{1,64}$")]
    """`ww...`, from My Company."""
    agent_id: Annotated[int, Field(ge=0)]
    """The app's AgentId."""
    api_base: Annotated[str, Field(pattern=r"^https?://[!-~]+$")] = "https://qyapi.weixin.qq.com"


class Message(Said):
    """A message to an app."""

    AgentID: Annotated[str, Field(pattern=r"^[0-9]{1,10}$")]


class WeCom:
    """The adapter of one app; a `PlatformAdapter`."""

    methods = frozenset({"GET", "POST"})
    limits = Limits(TextLimit(TEXT_BYTES, Unit.BYTES), body_bytes=BODY_BYTES, ack_s=3.0)
    capabilities = Capabilities()
    unreadable: HTTPAnswer | None = ACK

    def __init__(self, account: Account[WeComSettings], client: httpx.AsyncClient) -> None:
        settings = account.settings
        self._platform, self._api_base = account.platform, settings.api_base
        self._envelope = Envelope(account.keys[TOKEN], account.keys[AES_KEY], settings.corp_id)
        self._corp_id, self._agent_id = settings.corp_id, settings.agent_id
        self._secret = account.keys[CORP_SECRET].text
        self._api = PlatformAPI(client, account.platform, settings.api_base, CODES.judge)
        self._tokens = AccessTokens(self._fetched_token, EARLY_S)

    def admit(self, request: RawRequest) -> None:
        """See `PlatformAdapter.admit`: what speaks for the sender stands in the query."""
        Signature.of(request)

    def verify(self, request: RawRequest, now: float) -> Verified:
        """See `PlatformAdapter.verify`."""
        signature = Signature.of(request)
        fresh_seconds(signature.timestamp.encode(), now, MAX_AGE_S)
        is_question = request.method == "GET"
        text = request.parameter("echostr") if is_question else encrypted_in(request.body)
        payload = self._envelope.opened(signature, text)
        # Nobody is told by GET what a message that was seen on its way says.
        if is_question and not _ECHO.fullmatch(payload):
            raise refused()
        return Verified(request, payload)

    def read(self, verified: Verified) -> Received:
        """See `PlatformAdapter.read`."""
        if verified.request.method == "GET":
            return Received(answer=HTTPAnswer(body=verified.payload))
        values = parse_fields(verified.payload)
        if read_fields(Kind, values).MsgType == EVENT:
            return Received(answer=ACK)
        said = read_fields(Message, values)
        if int(said.AgentID) != self._agent_id:
            raise InvalidMessage("the message is for another app", field="AgentID")
        message = message_of(self._platform, said)
        return Received(() if message is None else (message,), ACK)

    async def send(self, part: ReplyPart, address: Address, *, deadline: Deadline) -> str | None:
        """See `PlatformAdapter.send`."""
        body = {
            "touser": address["user"],
            "msgtype": "text",
            "agentid": self._agent_id,
            "text": {"content": part.text},
        }

        async def call(token: str) -> str | None:
            request = APIRequest.of_json(f"{SEND_PATH}?{urlencode({'access_token': token})}", body)
            answer = await self._api.call(request, deadline=deadline)
            if answer.data.get("invaliduser"):
                raise Rejected("wecom does not let the app write to this member")
            sent_id = answer.data.get("msgid")
            return sent_id if isinstance(sent_id, str) else None

        return await self._tokens.used(call, deadline=deadline)

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

    async def _fetched_token(self, deadline: Deadline) -> AccessToken:
        query = urlencode({"corpid": self._corp_id, "corpsecret": self._secret})
        request = APIRequest("GET", f"{TOKEN_PATH}?{query}")
        data = (await self._api.call(request, deadline=deadline)).data
        return AccessToken.read("wecom", data.get("access_token"), data.get("expires_in"))


PLATFORM = Platform(
    WeComSettings,
    WeCom,
    (SecretRule(TOKEN), SecretRule(AES_KEY, min_bytes=AES_KEY_CHARS), SecretRule(CORP_SECRET)),
)
