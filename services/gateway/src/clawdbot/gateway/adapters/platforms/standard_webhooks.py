"""Standard Webhooks: a safe way in for whoever writes the sender themselves.

A message is `{"type": "message.created", "timestamp": "<ISO 8601>", "data": {...}}` with, in
`data`, `sender_id`, `content`, and if wanted `conversation_id`, `thread_id`, `attachments`. Other
types are answered 200 and left alone. With `callback_url`, replies are posted there as
`message.replied`, signed the same way; without it they are only stored.

Source: Standard Webhooks specification 1.0 (`v1`, HMAC-SHA256); timestamps as RFC 3339 has them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

import httpx
from pydantic import AnyHttpUrl, Field

from clawdbot.gateway.adapters.fields import (
    Attachments,
    Body,
    Content,
    Name,
    read_fields,
    require_something_said,
)
from clawdbot.gateway.adapters.platforms.api import APIRequest, PlatformAPI
from clawdbot.gateway.adapters.platforms.freshness import fresh_seconds
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
from clawdbot.gateway.adapters.platforms.requests import (
    HTTPAnswer,
    RawRequest,
    Verified,
    refused,
)
from clawdbot.gateway.adapters.records import attachments_record, metadata_record
from clawdbot.gateway.adapters.strict_json import parse_object
from clawdbot.gateway.domain.deliveries import SendTraits
from clawdbot.gateway.domain.messages import ReplyPart, place_of
from clawdbot.gateway.domain.splitting import TextLimit
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import InvalidMessage

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
SECRET = "secret"  # noqa: S105 -- the name of one
SECRET_PREFIX = b"whsec_"
MAX_AGE_S = 300.0
MAX_SIGNATURES = 16
"""A sender rotates between two keys; the rest is slack."""
MIN_KEY_BYTES = 16
CREATED, REPLIED = "message.created", "message.replied"


class StandardWebhooksSettings(AccountSettings):
    """Keys of an account of `platforms.standard_webhooks`."""

    callback_url: AnyHttpUrl | None = None
    """Where replies are posted."""


class Said(Body):
    """`data` of a message."""

    sender_id: Name
    content: Content
    attachments: Attachments = ()
    conversation_id: Name | None = None
    thread_id: Name | None = None


class Event(Body):
    """What every payload has."""

    type: Annotated[str, Field(min_length=1, max_length=256)]


class Created(Body):
    """The payload of a message."""

    timestamp: str
    data: Said


class StandardWebhooks:
    """The adapter of one account; a `PlatformAdapter`."""

    methods = frozenset({"POST"})
    limits = Limits(TextLimit(64_000))
    unreadable: HTTPAnswer | None = None

    def __init__(
        self,
        account: Account[StandardWebhooksSettings],
        client: httpx.AsyncClient,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._keys = [_key(secret) for secret in account.keys[SECRET]]
        self._callback_url = account.settings.callback_url
        self._api = PlatformAPI(client, account.platform, base_url="")
        self._now = now
        self.capabilities = Capabilities(replies=self._callback_url is not None, files=True)

    def admit(self, request: RawRequest) -> None:
        """See `PlatformAdapter.admit`."""
        for name in (ID, TIMESTAMP, SIGNATURE):
            request.header(name)

    def verify(self, request: RawRequest, now: float) -> Verified:
        """See `PlatformAdapter.verify`."""
        event_id, stamp = request.header(ID), request.header(TIMESTAMP)
        fresh_seconds(stamp, now, MAX_AGE_S)
        offered = _digests(request.header(SIGNATURE))
        expected = [_digest(key, event_id, stamp, request.body) for key in self._keys]
        if not any(hmac.compare_digest(one, other) for one in expected for other in offered):
            raise refused()
        return Verified(request, request.body)

    def read(self, verified: Verified) -> Received:
        """See `PlatformAdapter.read`."""
        values = parse_object(verified.payload)
        if read_fields(Event, values).type != CREATED:
            return Received()
        created = read_fields(Created, values)
        said = created.data
        require_something_said(said.content, said.attachments)
        event_id = verified.request.header(ID).decode("ascii")
        message = PlatformMessage(
            event_id=event_id,
            sender_id=said.sender_id,
            content=said.content,
            place=place_of(said.conversation_id, said.sender_id, said.thread_id),
            timestamp=_unix_seconds(created.timestamp),
            attachments=tuple(item.attachment() for item in said.attachments),
            thread_id=said.thread_id,
            address={
                "in_reply_to": event_id,
                "sender_id": said.sender_id,
                "conversation_id": said.conversation_id,
            },
        )
        return Received((message,))

    def traits(self, part: ReplyPart, address: Address) -> SendTraits:  # noqa: ARG002 -- the same everywhere
        """See `Keyed.traits`: a receiver that keeps to the specification knows the `webhook-id`."""
        return SendTraits(shows_once=True)

    async def send(self, part: ReplyPart, address: Address, *, deadline: Deadline) -> str | None:
        """See `PlatformAdapter.send`; the idempotency key is the `webhook-id`."""
        body = json.dumps(_replied(part, address), ensure_ascii=False).encode()
        event_id, stamp = part.idempotency_key.encode(), str(int(self._now())).encode()
        digest = base64.b64encode(_digest(self._keys[0], event_id, stamp, body)).decode()
        headers = {
            "Content-Type": "application/json",
            ID: part.idempotency_key,
            TIMESTAMP: stamp.decode(),
            SIGNATURE: f"v1,{digest}",
        }
        request = APIRequest("POST", "", body, headers, url=str(self._callback_url))
        await self._api.call(request, deadline=deadline)
        return part.idempotency_key


PLATFORM = Platform(
    StandardWebhooksSettings, StandardWebhooks, (SecretRule(SECRET),), vouches_for_senders=True
)


def _key(secret: bytes) -> bytes:
    text = secret.removeprefix(SECRET_PREFIX)
    try:
        key = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise ValueError("the secret is not whsec_ and base64") from None
    if len(key) < MIN_KEY_BYTES:
        raise ValueError(f"the secret has fewer than {MIN_KEY_BYTES} bytes of key")
    return key


def _digest(key: bytes, event_id: bytes, stamp: bytes, body: bytes) -> bytes:
    return hmac.digest(key, b".".join((event_id, stamp, body)), hashlib.sha256)


def _digests(header: bytes) -> list[bytes]:
    """Return what the `v1` signatures in the header's list hold; other versions are passed over."""
    found = [item[3:] for item in header.split(b" ") if item.startswith(b"v1,")]
    try:
        return [base64.b64decode(item, validate=True) for item in found[:MAX_SIGNATURES]]
    except binascii.Error:
        raise refused() from None


def _unix_seconds(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
        seconds = int(at.timestamp()) if at.tzinfo else -1
    except (ValueError, OverflowError):
        seconds = -1
    if seconds < 0:
        raise InvalidMessage(
            "the field 'timestamp' cannot be used",
            field="timestamp",
            fix="send 'timestamp' as ISO 8601 with a time zone, such as 2026-01-31T12:00:00Z",
        )
    return seconds


def _replied(part: ReplyPart, address: Address) -> dict[str, object]:
    reply = part.reply
    said_at = datetime.fromtimestamp(reply.created_at_ms / 1000, UTC)
    return {
        "type": REPLIED,
        "timestamp": said_at.isoformat(timespec="milliseconds"),
        "data": {
            **address,
            "thread_id": reply.thread_id,
            "message_id": reply.message_id,
            "content": part.text,
            "kind": reply.kind.value,
            "part": part.index,
            "is_final": part.is_last,
            "attachments": attachments_record(reply) if part.is_last else [],
            "metadata": metadata_record(reply),
        },
    }
