"""The generic webhook's payload: the public record in, and where its reply goes back to."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import BaseModel, Field

from clawdbot.gateway.adapters.fields import (
    Attachments,
    Body,
    Content,
    Name,
    read_fields,
    require_something_said,
)
from clawdbot.gateway.adapters.idempotency import request_key
from clawdbot.gateway.adapters.strict_json import parse_object
from clawdbot.gateway.domain.messages import (
    WEBHOOK,
    WEBHOOK_SCOPES,
    RequestKey,
    Submission,
    place_of,
)
from clawdbot.schema.errors import InvalidMessage
from clawdbot.schema.ids import Tenant

MAX_AHEAD_S = 300
"""How far a sender's clock may be ahead of ours."""


class WebhookBody(Body):
    """What a webhook may say."""

    platform: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,64}$")] = "webhook"
    sender_id: Name
    content: Content
    # Without the sender's clock two equal messages would be one: the body is their identity.
    timestamp: Annotated[int, Field(ge=0, le=253_402_300_799)]
    attachments: Attachments = ()
    message_id: Name | None = None
    conversation_id: Name | None = None
    thread_id: Name | None = None


class ReplyAddress(BaseModel):
    """The sender's own names, carried along as the message's opaque `reply_to`."""

    platform: str | None = None
    sender_id: str | None = None
    sender_message_id: str | None = None
    sender_conversation_id: str | None = None

    @classmethod
    def read(cls, reply_to: bytes | None) -> ReplyAddress:
        """Return the address in `reply_to`; without one, nobody's."""
        return cls.model_validate_json(reply_to) if reply_to else cls()


@dataclass(frozen=True)
class Ages:
    """How far a message's own clock may be from ours."""

    max_age_s: float | None = None
    """None takes any age; with a bound, what was captured cannot be sent again much later."""
    now: Callable[[], float] = time.time

    def require(self, timestamp: int) -> None:
        """Pass when a message may have been said at `timestamp`, in Unix seconds.

        Raises:
            InvalidMessage: it is in the future, or too long ago.
        """
        age_s = self.now() - timestamp
        if age_s < -MAX_AHEAD_S:
            raise _wrong_time("is in the future")
        if self.max_age_s is not None and age_s > self.max_age_s:
            raise _wrong_time("is too long ago")


ANY_AGE = Ages()


def parse_webhook(
    raw: bytes, tenant: Tenant, ages: Ages = ANY_AGE, key: str | None = None
) -> Submission:
    """Return the message in the verified bytes `raw`, sent with the `Idempotency-Key` `key`.

    Raises:
        BadPayload: not the JSON we accept.
        InvalidMessage: a field is missing or wrong, or it is one of our own replies.
    """
    values = parse_object(raw)
    _refuse_reply(values)
    body = read_fields(WebhookBody, values)
    require_something_said(body.content, body.attachments)
    ages.require(body.timestamp)
    address = ReplyAddress(
        platform=body.platform,
        sender_id=body.sender_id,
        sender_message_id=body.message_id,
        sender_conversation_id=body.conversation_id,
    )
    return Submission(
        tenant=tenant,
        channel=WEBHOOK,
        platform=body.platform,
        sender_id=body.sender_id,
        scopes=WEBHOOK_SCOPES,
        content=body.content,
        place=(body.platform, *place_of(body.conversation_id, body.sender_id, body.thread_id)),
        own_id=body.message_id,
        fallback_id="" if body.message_id else hashlib.sha256(raw).hexdigest(),
        timestamp=body.timestamp,
        attachments=tuple(item.attachment() for item in body.attachments),
        thread_id=body.thread_id,
        reply_to=address.model_dump_json(exclude_none=True).encode(),
        conversation_name=body.conversation_id,
        request_key=_request_key(key, raw, body.message_id),
    )


def _request_key(key: str | None, raw: bytes, message_id: str | None) -> RequestKey | None:
    """Return what the request is repeated under; all who know the secret are one holder."""
    found = request_key(key, "", raw, message_id)
    # The signature covers the body alone, so that the body alone tells messages apart.
    return None if found is None else replace(found, names_message=False)


def _refuse_reply(values: Mapping[str, object]) -> None:
    """Pass when it is no reply: ours have the same signature and would be answered forever."""
    if "is_final" in values:
        raise InvalidMessage(
            "this is a reply, not a message",
            field="is_final",
            fix="take replies at an address of your own, and post messages here",
        )


def _wrong_time(what: str) -> InvalidMessage:
    return InvalidMessage(
        f"the field 'timestamp' {what}",
        field="timestamp",
        fix="send 'timestamp' as Unix seconds by a clock that is right",
    )
