"""Fakes of the gateway's `Files` and `BlobStore`, kept here since `ports` is long enough."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager

from clawdbot.gateway.domain.files import OpenFile
from clawdbot.schema.blobs import BlobRef
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError
from clawdbot.schema.messages import InboundMessage


class RecordingFiles:
    """Gives each file that a test wrote down.

    Attributes:
        files: type and content by the attachment's URL; an error is raised instead.
        opened: URL and largest size of each file asked for.
    """

    def __init__(self) -> None:
        self.files: dict[str, tuple[str, bytes] | ClawdbotError] = {}
        self.opened: list[tuple[str, int]] = []

    @asynccontextmanager
    async def open(
        self, message: InboundMessage, index: int, *, max_bytes: int, deadline: Deadline
    ) -> AsyncIterator[OpenFile]:
        """Yield it in pieces of a kilobyte."""
        deadline.require()
        url = message.attachments[index].url
        self.opened.append((url, max_bytes))
        found = self.files[url]
        if isinstance(found, ClawdbotError):
            raise found
        yield OpenFile(found[0], _pieces(found[1]))


async def _pieces(content: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(content), 1024):
        yield content[start : start + 1024]


class InMemoryBlobs:
    """Keeps content in a dict.

    Attributes:
        kept: by its hash.
    """

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    async def put(
        self, content: AsyncIterable[bytes], media_type: str, *, deadline: Deadline
    ) -> BlobRef:
        """Keep it."""
        deadline.require()
        whole = b"".join([chunk async for chunk in content])
        sha256 = hashlib.sha256(whole).hexdigest()
        self.kept[sha256] = whole
        return BlobRef(
            sha256=sha256, size_bytes=len(whole), media_type=media_type, expires_at_ms=deadline.ms
        )
