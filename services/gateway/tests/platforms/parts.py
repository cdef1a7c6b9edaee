"""Replies as adapters get them."""

from __future__ import annotations

from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.schema.ids import Channel, ConversationId, MessageId, Tenant
from clawdbot.schema.messages import OutboundMessage


def part(text: str = "hi there") -> ReplyPart:
    """Return the only part of a reply."""
    reply = OutboundMessage(
        channel=Channel("platform"),
        tenant=Tenant("default"),
        conversation_id=ConversationId("c" * 26),
        message_id=MessageId("m" * 26),
        content=text,
        created_at_ms=1_700_000_000_500,
    )
    return ReplyPart(reply, text, 0, 1, "idempotencykeyofthispart")
