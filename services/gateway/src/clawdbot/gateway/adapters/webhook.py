"""The generic webhook's payload: the public record in, and where its reply goes back to."""

from __future__ import annotations

import hashlib
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
from clawdbot.gateway.adapters.strict_json import parse_object
from clawdbot.gateway.domain.messages import WEBHOOK, WEBHOOK_SCOPES, Submission
from clawdbot.schema.ids import Tenant


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


def parse_webhook(raw: bytes, tenant: Tenant) -> Submission:
    """Return the message in the verified bytes `raw`.

    Raises:
        BadPayload: not the JSON we accept.
        InvalidMessage: a field is missing or wrong.
    """
    body = read_fields(WebhookBody, parse_object(raw))
    require_something_said(body.content, body.attachments)
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
        place=(body.platform, body.conversation_id or body.sender_id, body.thread_id or ""),
        own_id=body.message_id,
        fallback_id=hashlib.sha256(raw).hexdigest(),
        timestamp=body.timestamp,
        attachments=tuple(item.attachment() for item in body.attachments),
        thread_id=body.thread_id,
        reply_to=address.model_dump_json(exclude_none=True).encode(),
    )
