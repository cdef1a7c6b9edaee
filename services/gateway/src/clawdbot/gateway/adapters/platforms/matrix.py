"""Matrix: an application service of a homeserver, which is pushed the events of its bot's rooms.

In: the homeserver shows `hs_token` as Bearer and calls paths below the `url` of the registration.
Nothing is signed; a transaction is sent again, in order, until it is answered 200, so that nothing
but our own failure is answered otherwise: one event that nobody can read must not hold up all that
come after it. Events are kept once by their ids. The bot joins rooms that it is invited to. Rooms
that are encrypted cannot be read.

Out: `m.notice`, which other bots leave alone, under a transaction id that a homeserver takes once
(Synapse keeps it for half an hour). Edits are messages that replace others and carry the text
twice; an event has at most 65,536 bytes. The name of the bot is the `sender_localpart`'s, so that
no identity has to be asserted.

Source: Matrix specification v1.11: Application Service API; Client-Server API, "Sending events",
"Typing notifications", "Content repository", "Rate limiting", "Size limits".
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit

import httpx
from pydantic import Field

from clawdbot.gateway.adapters.fields import read_fields
from clawdbot.gateway.adapters.guarded_http import FileRequest
from clawdbot.gateway.adapters.platforms.api import APIAnswer, APIRequest, PlatformAPI
from clawdbot.gateway.adapters.platforms.batches import understood
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
from clawdbot.gateway.adapters.platforms.matrix_events import (
    MEMBER,
    MESSAGE,
    MXC,
    Invitation,
    Kind,
    Message,
    Transaction,
    server_of,
    without_name,
)
from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest, Verified, refused
from clawdbot.gateway.adapters.strict_json import parse_object
from clawdbot.gateway.domain.deliveries import SendTraits
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.gateway.domain.splitting import TextLimit, Unit
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, InvalidMessage, Overloaded, Rejected
from clawdbot.schema.messages import Attachment

HS_TOKEN, AS_TOKEN = "hs_token", "as_token"
ROOT = "/_matrix/app/v1"
ROOMS = "/_matrix/client/v3/rooms"
MAX_TEXT_BYTES = 15_000
"""Twice in an edit, and each byte twice where JSON escapes it: below an event's 65,536."""
MAX_TRANSACTION_BYTES = 8_388_608
"""Synapse pushes 100 events at a time, of 65,536 bytes at most."""
MAX_JOINS = 10
LONGEST_WAIT_S = 3600.0
TYPING_MS = 10_000
OK = HTTPAnswer.of_json({})
UNKNOWN = HTTPAnswer.of_json({"errcode": "M_NOT_FOUND", "error": "Nobody of that name."}, 404)
UNRECOGNIZED = HTTPAnswer.of_json({"errcode": "M_UNRECOGNIZED", "error": "Not served here."}, 404)


class MatrixSettings(AccountSettings):
    """Keys of an account of `platforms.matrix`."""

    api_base: Annotated[str, Field(pattern=r"^https?://")]
    """The homeserver, such as `https://matrix.example.org`."""
    user_id: Annotated[str, Field(pattern=r"^@[a-z0-9._=/+-]{1,200}:[A-Za-z0-9.:\[\]-]{1,200}$")]
    """The bot: `@` and `sender_localpart` of the registration, and the homeserver's name."""
    joins: Literal["local", "anybody", "nobody"] = "local"
    """Whose invitations are accepted: those of users of the same homeserver, or everybody's."""
    mentions_only: bool = False
    """Whether only messages that mention the bot are answered."""
    direct: bool = False
    """Whether its rooms count as direct chats, in which strangers are told a pairing code."""
    notices: bool = True
    """Whether replies are notices, which other bots leave alone and which notify nobody."""


class Matrix:
    """The adapter of one bot; also `Editing`, `ShowsTyping`, `LocatesFiles`, `FollowsUp`."""

    methods = frozenset({"GET", "POST", "PUT"})
    limits = Limits(
        TextLimit(MAX_TEXT_BYTES, Unit.BYTES), body_bytes=MAX_TRANSACTION_BYTES, ack_s=5.0
    )
    capabilities = Capabilities(edits=True, typing=True, typing_s=TYPING_MS / 1000)
    unreadable: HTTPAnswer | None = OK
    subpaths = (
        f"{ROOT}/transactions/{{id}}",
        f"{ROOT}/users/{{id}}",
        f"{ROOT}/rooms/{{id}}",
        f"{ROOT}/ping",
    )

    def __init__(self, account: Account[MatrixSettings], client: httpx.AsyncClient) -> None:
        self._settings = account.settings
        self._tokens = account.keys[HS_TOKEN]
        self._headers = {"Authorization": f"Bearer {account.keys[AS_TOKEN].text}"}
        self._api = PlatformAPI(client, account.platform, account.settings.api_base, judge)

    def admit(self, request: RawRequest) -> None:
        """See `PlatformAdapter.admit`: the header is the secret."""
        scheme, _, offered = request.header("authorization").partition(b" ")
        # A list: each token is compared, whichever was right.
        is_known = any([hmac.compare_digest(offered, token) for token in self._tokens])
        if scheme.lower() != b"bearer" or not is_known:
            raise refused()

    def verify(self, request: RawRequest, now: float) -> Verified:  # noqa: ARG002 -- not dated
        """See `PlatformAdapter.verify`."""
        self.admit(request)
        return Verified(request, request.body)

    def read(self, verified: Verified) -> Received:
        """See `PlatformAdapter.read`."""
        request = verified.request
        what, _, name = urlsplit(request.url).path.partition(f"{ROOT}/")[2].partition("/")
        if (request.method, what) == ("PUT", "transactions"):
            return self._transaction(verified.payload)
        if (request.method, what) == ("POST", "ping"):
            return Received(answer=OK)
        if request.method == "GET" and what in {"users", "rooms"}:
            return Received(answer=OK if name == self._settings.user_id else UNKNOWN)
        return Received(answer=UNRECOGNIZED)

    def _transaction(self, payload: bytes) -> Received:
        events = read_fields(Transaction, parse_object(payload)).events
        rooms = [room for event in events for room in self._invited(event)]
        joins = {"rooms": rooms[:MAX_JOINS]} if rooms else None
        try:
            return Received(understood(events, self._said), OK, follow_up=joins)
        except InvalidMessage:
            if joins is None:
                raise
            return Received(answer=OK, follow_up=joins)

    def _invited(self, event: dict[str, object]) -> tuple[str, ...]:
        if event.get("type") != MEMBER or event.get("state_key") != self._settings.user_id:
            return ()
        try:
            invitation = read_fields(Invitation, event)
        except InvalidMessage:
            return ()
        is_local = server_of(invitation.sender) == server_of(self._settings.user_id)
        joins = self._settings.joins
        is_welcome = joins == "anybody" or (joins == "local" and is_local)
        is_invited = invitation.content.membership == "invite" and is_welcome
        return (invitation.room_id,) if is_invited else ()

    def _said(self, event: dict[str, object]) -> PlatformMessage | None:
        kind, own = read_fields(Kind, event), self._settings.user_id
        if kind.type != MESSAGE or kind.state_key is not None or kind.sender == own:
            return None
        message = read_fields(Message, event)
        said, room = message.content, message.room_id
        if said.is_edit or (self._settings.mentions_only and not _calls(message, own)):
            return None
        files = said.attachments()
        if not (said.text.strip() or files):
            return None
        address = {"room_id": room, "event_id": message.event_id, "thread": said.thread}
        return PlatformMessage(
            event_id=message.event_id,
            sender_id=message.sender,
            content=without_name(said.text, own),
            place=(room, said.thread or ""),
            timestamp=message.origin_server_ts // 1000,
            attachments=files,
            thread_id=said.thread,
            address=address,
            in_group=not self._settings.direct,
        )

    async def follow_up(self, what: Address, *, deadline: Deadline) -> None:
        """See `FollowsUp.follow_up`: join the rooms that we are invited to."""
        for room in what["rooms"]:
            await self._call("POST", f"/_matrix/client/v3/join/{_quoted(room)}", {}, deadline)

    async def send(self, part: ReplyPart, address: Address, *, deadline: Deadline) -> str | None:
        """See `PlatformAdapter.send`; files are not sent."""
        content = {**self._text(part.text), **_relation(part, address)}
        return await self._say(content, part.idempotency_key, address, deadline)

    def traits(self, part: ReplyPart, address: Address) -> SendTraits:  # noqa: ARG002 -- as `Keyed`
        """See `Keyed.traits`."""
        return SendTraits(shows_once=True, edits=True)

    async def edit(
        self, sent_id: str, part: ReplyPart, address: Address, *, deadline: Deadline
    ) -> None:
        """See `Editing.edit`; clients that know no edits show a new message with a star."""
        text = self._text(part.text)
        content = {
            **text,
            "body": f"* {part.text}",
            "m.new_content": text,
            "m.relates_to": {"rel_type": "m.replace", "event_id": sent_id},
        }
        key = hashlib.sha256(f"{part.idempotency_key} {sent_id} {part.text}".encode()).hexdigest()
        await self._say(content, key, address, deadline)

    async def show_typing(self, address: Address, *, deadline: Deadline) -> None:
        """See `ShowsTyping.show_typing`."""
        room, user = _quoted(address["room_id"]), _quoted(self._settings.user_id)
        body = {"typing": True, "timeout": TYPING_MS}
        await self._call("PUT", f"{ROOMS}/{room}/typing/{user}", body, deadline)

    async def locate(
        self,
        attachment: Attachment,
        address: Address,  # noqa: ARG002 -- the address of a file is all that it takes
        *,
        deadline: Deadline,  # noqa: ARG002 -- nobody is asked
    ) -> FileRequest:
        """See `LocatesFiles.locate`; the homeserver fetches what lies elsewhere."""
        found = MXC.fullmatch(attachment.url)
        if found is None:
            raise Rejected("matrix has no such file")
        path = f"/_matrix/client/v1/media/download/{_quoted(found[1])}/{found[2]}"
        return FileRequest.below(self._settings.api_base, path, self._headers)

    def _text(self, text: str) -> dict[str, object]:
        return {"msgtype": "m.notice" if self._settings.notices else "m.text", "body": text}

    async def _say(
        self, content: dict[str, object], key: str, address: Address, deadline: Deadline
    ) -> str | None:
        path = f"{ROOMS}/{_quoted(address['room_id'])}/send/{MESSAGE}/{key}"
        sent_id = (await self._call("PUT", path, content, deadline)).data.get("event_id")
        return sent_id if isinstance(sent_id, str) else None

    async def _call(
        self, method: str, path: str, body: Mapping[str, object], deadline: Deadline
    ) -> APIAnswer:
        headers = {"Content-Type": "application/json", **self._headers}
        content = json.dumps(body, ensure_ascii=False).encode()
        return await self._api.call(APIRequest(method, path, content, headers), deadline=deadline)


PLATFORM = Platform(MatrixSettings, Matrix, (SecretRule(HS_TOKEN), SecretRule(AS_TOKEN)))


def judge(answer: APIAnswer) -> ClawdbotError | None:
    """Return how long to wait where the body says so, as older homeservers do; a `Judge`."""
    wait_ms = answer.data.get("retry_after_ms")
    is_busy = answer.status == httpx.codes.TOO_MANY_REQUESTS
    if not is_busy or type(wait_ms) is not int or "retry-after" in answer.headers:
        return None
    return Overloaded("matrix asks to wait", retry_after_s=min(wait_ms / 1000, LONGEST_WAIT_S))


def _calls(message: Message, user_id: str) -> bool:
    mentions = message.content.mentions
    if mentions is not None:
        return user_id in mentions.user_ids
    return user_id in message.content.body


def _relation(part: ReplyPart, address: Address) -> dict[str, object]:
    """Return what a part answers: the thread it is in, and the first part the message itself."""
    answers = {"m.in_reply_to": {"event_id": address["event_id"]}}
    if address["thread"] is not None:
        thread = {"rel_type": "m.thread", "event_id": address["thread"], "is_falling_back": True}
        return {"m.relates_to": {**thread, **answers}}
    return {"m.relates_to": answers} if part.index == 0 else {}


def _quoted(name: str) -> str:
    return quote(name, safe="")
