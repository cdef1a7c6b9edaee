"""WhatsApp: a business number of Meta's Cloud API behind a webhook.

In: `X-Hub-Signature-256` under the app secret, over the exact bytes, which escape all that is not
ASCII; nothing is dated. Before, Meta asks with a GET whether the address is ours and wants
`hub.challenge` back as it is. A request holds messages of several people and what became of ours;
what is not answered with 200 comes again for days, in any order, so that `messages[].id` tells a
repetition.

Out: `POST /<phone number id>/messages`. Free text is taken within 24 hours of the person's last
message, then only templates: such a reply is given up with that reason. There is no key against
repetition, no edit and no growing draft; showing that we write also marks the message as read. The
numbers of the reply are those that the signed message names: an app with several numbers answers
from the one that was written to.

Sources (developers.facebook.com, WhatsApp Business Platform): "Webhooks", "Text messages",
"Interactive reply buttons messages", "Typing indicators", "Error codes", "Media".
"""

from __future__ import annotations

import hmac
import logging
import re
from collections.abc import Mapping

import httpx

from clawdbot.gateway.adapters.fields import read_fields
from clawdbot.gateway.adapters.guarded_http import FileRequest
from clawdbot.gateway.adapters.platforms.api import APIRequest, PlatformAPI
from clawdbot.gateway.adapters.platforms.batches import understood
from clawdbot.gateway.adapters.platforms.buttons import buttons_of
from clawdbot.gateway.adapters.platforms.hub_signature import SIGNATURE, verified
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
from clawdbot.gateway.adapters.platforms.whatsapp_errors import judge
from clawdbot.gateway.adapters.platforms.whatsapp_payloads import (
    SCHEME,
    Notification,
    Said,
    Status,
    Value,
)
from clawdbot.gateway.adapters.strict_json import parse_object
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.gateway.domain.splitting import TextLimit, Unit
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import InvalidMessage, Rejected
from clawdbot.schema.messages import Attachment

log = logging.getLogger(__name__)

APP_SECRET, VERIFY_TOKEN, ACCESS_TOKEN = "app_secret", "verify_token", "access_token"
MIN_TOKEN_BYTES = 30
MAX_TEXT_UNITS = 4_096
MAX_ASKED_UNITS = TextLimit(1_024, Unit.UTF16)
"""Longest text with buttons; a longer question goes without them, its words say the same."""
FILE_HOSTS = frozenset({"lookaside.fbsbx.com"})
TYPING_S = 25.0
_CHALLENGE = re.compile(r"[!-~]{1,256}")


class WhatsAppSettings(AccountSettings):
    """Keys of an account of `platforms.whatsapp`."""

    api_base: str = "https://graph.facebook.com/v25.0"
    """With the version of the Graph API, each of which lives about two years."""


class WhatsApp:
    """The adapter of one app; a `PlatformAdapter` that is `ShowsTyping`."""

    methods = frozenset({"GET", "POST"})
    limits = Limits(TextLimit(MAX_TEXT_UNITS, Unit.UTF16))
    capabilities = Capabilities(typing=True, typing_s=TYPING_S, buttons=True)
    unreadable: HTTPAnswer | None = HTTPAnswer()

    def __init__(self, account: Account[WhatsAppSettings], client: httpx.AsyncClient) -> None:
        self._secrets = account.keys[APP_SECRET]
        self._verify_tokens = account.keys[VERIFY_TOKEN]
        self._headers = {"Authorization": f"Bearer {account.keys[ACCESS_TOKEN].text}"}
        self._api_base = account.settings.api_base
        self._api = PlatformAPI(client, account.platform, self._api_base, judge)

    def admit(self, request: RawRequest) -> None:
        """See `PlatformAdapter.admit`; Meta's question after the address shows its token."""
        if request.method == "GET":
            self._admit_question(request)
        else:
            request.header(SIGNATURE)

    def verify(self, request: RawRequest, now: float) -> Verified:  # noqa: ARG002 -- not dated
        """See `PlatformAdapter.verify`."""
        if request.method == "GET":
            self._admit_question(request)
            return Verified(request, b"")
        return verified(request, self._secrets)

    def _admit_question(self, request: RawRequest) -> None:
        offered = request.parameter("hub.verify_token").encode()
        matches = [hmac.compare_digest(token, offered) for token in self._verify_tokens]
        if not any(matches) or request.parameter("hub.mode") != "subscribe":
            raise refused()
        if not _CHALLENGE.fullmatch(request.parameter("hub.challenge")):
            raise refused()

    def read(self, verified: Verified) -> Received:
        """See `PlatformAdapter.read`; what became of our messages is logged where they failed."""
        if verified.request.method == "GET":
            challenge = verified.request.parameter("hub.challenge")
            return Received(answer=HTTPAnswer(body=challenge.encode("ascii")))
        said: list[tuple[str, Mapping[str, object]]] = []
        for changed in read_fields(Notification, parse_object(verified.payload)).values:
            value = read_fields(Value, changed)
            _log_failures(value.statuses)
            said += [(value.metadata.phone_number_id, message) for message in value.messages]
        return Received(understood(said, lambda one: _message(*one)))

    async def send(self, part: ReplyPart, address: Address, *, deadline: Deadline) -> str | None:
        """See `PlatformAdapter.send`; the first part quotes the message that it answers."""
        body = {
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            **_recipient(address),
            **_shown(part),
        }
        if part.index == 0:
            body["context"] = {"message_id": address["message_id"]}
        sent = (await self._post(address, body, deadline)).get("messages")
        first = sent[0] if isinstance(sent, list) and sent else None
        sent_id = first.get("id") if isinstance(first, dict) else None
        return sent_id if isinstance(sent_id, str) else None

    async def show_typing(self, address: Address, *, deadline: Deadline) -> None:
        """See `ShowsTyping.show_typing`; it ends with our message, or after 25 s."""
        body = {
            "messaging_product": "whatsapp",
            "status": "read",
            "message_id": address["message_id"],
            "typing_indicator": {"type": "text"},
        }
        await self._post(address, body, deadline)

    async def locate(
        self,
        attachment: Attachment,
        address: Address,  # noqa: ARG002 -- a file's id is all that it takes
        *,
        deadline: Deadline,
    ) -> FileRequest:
        """See `LocatesFiles.locate`; the address that Meta gives lasts five minutes ("Media")."""
        path = f"/{attachment.url.removeprefix(f'{SCHEME}:')}"
        request = APIRequest("GET", path, headers=self._headers)
        url = (await self._api.call(request, deadline=deadline)).data.get("url")
        if not isinstance(url, str):
            raise Rejected("whatsapp has no address for this file")
        return FileRequest.at(url, FILE_HOSTS, self._api_base, self._headers)

    async def _post(
        self, address: Address, body: Mapping[str, object], deadline: Deadline
    ) -> Mapping[str, object]:
        path = f"/{address['phone_number_id']}/messages"
        request = APIRequest.of_json(path, body, self._headers)
        return (await self._api.call(request, deadline=deadline)).data


PLATFORM = Platform(
    WhatsAppSettings,
    WhatsApp,
    (
        SecretRule(APP_SECRET),
        SecretRule(VERIFY_TOKEN),
        SecretRule(ACCESS_TOKEN, min_bytes=MIN_TOKEN_BYTES),
    ),
)


def _message(phone_number_id: str, values: Mapping[str, object]) -> PlatformMessage | None:
    said = read_fields(Said, values)
    content = said.content
    if content is None or said.group_id is not None:
        return None
    if said.sender_id is None:
        raise InvalidMessage("the field 'from' is missing", field="from")
    return PlatformMessage(
        event_id=said.id,
        sender_id=said.sender_id,
        content=content,
        place=(phone_number_id, said.sender_id),
        timestamp=int(said.timestamp),
        attachments=said.attachments(),
        address={
            "phone_number_id": phone_number_id,
            "to": said.phone or "",
            "user_id": said.from_user_id or "",
            "message_id": said.id,
        },
    )


def _recipient(address: Address) -> dict[str, object]:
    # A number goes before an id where Meta is given both.
    if address["to"]:
        return {"to": address["to"]}
    return {"recipient": address["user_id"]}


def _shown(part: ReplyPart) -> dict[str, object]:
    buttons = [
        {"type": "reply", "reply": {"id": button.value, "title": button.label}}
        for button in buttons_of(part)
    ]
    if not buttons or MAX_ASKED_UNITS.size(part.text) > MAX_ASKED_UNITS.most:
        # Meta would fetch an address in the text before anybody chose to open it.
        return {"type": "text", "text": {"body": part.text, "preview_url": False}}
    action = {"buttons": buttons}
    question = {"type": "button", "body": {"text": part.text}, "action": action}
    return {"type": "interactive", "interactive": question}


def _log_failures(statuses: tuple[Status, ...]) -> None:
    for status in statuses:
        if status.status == "failed":
            # Meta takes a message first and finds out later, as that the 24 hours are over.
            codes = [fault.code for fault in status.errors]
            log.warning("whatsapp did not deliver a reply", extra={"codes": codes})
