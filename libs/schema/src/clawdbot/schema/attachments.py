"""Asking the gateway for a file that came with a message.

The request names a message that the gateway itself kept, and never an address: so nobody on the bus
can have the gateway fetch what no verified sender named.
"""

from __future__ import annotations

from pydantic import Field

from clawdbot.schema.blobs import UNKNOWN_TYPE, BlobRef
from clawdbot.schema.ids import ConversationId, MessageId, Tenant
from clawdbot.schema.messages import MAX_ATTACHMENTS
from clawdbot.schema.rpc import Rpc
from clawdbot.schema.wire import Wire

SERVICE = "gateway"


class FetchAttachmentRequest(Wire):
    """One file of one kept message."""

    SCHEMA = "fetch_attachment_request/1"

    tenant: Tenant
    conversation_id: ConversationId
    message_id: MessageId
    index: int = Field(ge=0, lt=MAX_ATTACHMENTS)
    """Position in the message's attachments."""
    max_bytes: int | None = Field(default=None, ge=1)
    """Longest that is of use; `TooLarge` beyond it. The gateway's own limit holds besides."""


class FetchAttachmentReply(Wire):
    """The file: within the reply when it is short, else by reference. One of the two is there."""

    SCHEMA = "fetch_attachment_reply/1"

    media_type: str = UNKNOWN_TYPE
    """As its host says; a claim, since nobody looked into it."""
    data: bytes | None = None
    """All of it, when it is no longer than `INLINE_BYTES`."""
    blob: BlobRef | None = None


FETCH_ATTACHMENT = Rpc(SERVICE, "fetch_attachment", FetchAttachmentRequest, FetchAttachmentReply)
