"""Files of messages, over the bus from the gateway."""

from __future__ import annotations

from clawdbot.assistant.domain.turn import Mandate
from clawdbot.runtime.bus import Bus
from clawdbot.schema.attachments import FETCH_ATTACHMENT, FetchAttachmentRequest
from clawdbot.schema.errors import TooLarge
from clawdbot.schema.messages import InboundMessage


class FilesClient:
    """Implements `ports.Files`."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def fetch(
        self, message: InboundMessage, index: int, max_bytes: int, mandate: Mandate
    ) -> bytes:
        """Return the file of attachment `index`."""
        request = FetchAttachmentRequest(
            tenant=message.tenant,
            conversation_id=message.conversation_id,
            message_id=message.message_id,
            index=index,
            max_bytes=max_bytes,
        )
        reply = await self._bus.call(FETCH_ATTACHMENT, request, deadline=mandate.deadline)
        if reply.data is None:
            raise TooLarge("the file came by reference")
        return reply.data
