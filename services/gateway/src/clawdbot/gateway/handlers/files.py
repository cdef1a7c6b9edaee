"""Fetching a file that came with a message, when somebody asks for it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from clawdbot.gateway.domain.files import OpenFile
from clawdbot.gateway.ports import BlobStore, Files, Inbox
from clawdbot.schema.attachments import FetchAttachmentReply, FetchAttachmentRequest
from clawdbot.schema.blobs import INLINE_BYTES, UNKNOWN_TYPE
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import NotFound
from clawdbot.schema.messages import InboundMessage
from clawdbot.schema.rpc import Call


@dataclass(frozen=True)
class FetchLimits:
    """How much one file may take."""

    max_bytes: int
    timeout_s: float
    """From asking its host for it until its last byte is stored."""


class FetchFile:
    """Answers `claw.rpc.gateway.fetch_attachment`."""

    def __init__(self, inbox: Inbox, files: Files, blobs: BlobStore, limits: FetchLimits) -> None:
        self._inbox = inbox
        self._files = files
        self._blobs = blobs
        self._limits = limits

    async def __call__(self, request: FetchAttachmentRequest, call: Call) -> FetchAttachmentReply:
        """Return the file, within the reply when it is short.

        Raises:
            NotFound: no such message, it has no such attachment, or its host has it no more.
            Rejected: it cannot be had: too long, refused, or somewhere we do not go.
            Retryable: it may work later.
        """
        deadline = call.deadline.within(self._limits.timeout_s)
        message = await self._message(request, deadline)
        wanted = request.max_bytes or self._limits.max_bytes
        max_bytes = min(wanted, self._limits.max_bytes)
        async with self._files.open(
            message, request.index, max_bytes=max_bytes, deadline=deadline
        ) as file:
            stated = message.attachments[request.index].media_type or UNKNOWN_TYPE
            return await self._reply(file, stated, deadline)

    async def _message(self, request: FetchAttachmentRequest, deadline: Deadline) -> InboundMessage:
        message = await self._inbox.find(request.tenant, request.message_id, deadline=deadline)
        if (
            message is None
            or message.conversation_id != request.conversation_id
            or request.index >= len(message.attachments)
        ):
            raise NotFound("no such attachment", fix="its message may have been forgotten")
        return message

    async def _reply(self, file: OpenFile, stated: str, deadline: Deadline) -> FetchAttachmentReply:
        # What a platform says of its file is better than no answer, and worse than its host's.
        is_said = file.media_type not in ("", UNKNOWN_TYPE)
        media_type = file.media_type if is_said else stated
        async with aclosing(file.content) as content:
            head = await _head(content)
            if len(head) <= INLINE_BYTES:
                return FetchAttachmentReply(media_type=media_type, data=head)
            blob = await self._blobs.put(_whole(head, content), media_type, deadline=deadline)
            return FetchAttachmentReply(media_type=media_type, blob=blob)


async def _head(content: AsyncIterator[bytes]) -> bytes:
    """Return all of a short content; of a longer one, more than `INLINE_BYTES` of its start."""
    head = bytearray()
    async for chunk in content:
        head += chunk
        if len(head) > INLINE_BYTES:
            break
    return bytes(head)


async def _whole(head: bytes, rest: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    yield head
    async for chunk in rest:
        yield chunk
