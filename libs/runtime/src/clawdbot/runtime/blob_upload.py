"""One upload to the object store: its chunks, and the record that names them (NATS ADR-20)."""

from __future__ import annotations

import logging
import math
from base64 import urlsafe_b64encode
from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from secrets import token_hex

import nats.errors
from nats.js import JetStreamContext
from nats.js import errors as js_errors
from nats.js.api import Header
from nats.js.kv import MSG_ROLLUP_SUBJECT
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clawdbot.schema import subjects
from clawdbot.schema.blobs import BlobRef
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.streams import OBJECT_STORE

log = logging.getLogger(__name__)

CHUNK_BYTES = 262_144
"""Far below the bus's largest message, so that a large file delays nothing else for long."""
CLOCK_SLACK_S = 60
"""How much longer than its name says a content is kept: clocks differ, and readers are slow."""
STORE_TIMEOUT_S = 5.0
WITHDRAW_TIMEOUT_S = 1.0


class _Metadata(BaseModel):
    """What ADR-20 leaves to us; all values are text."""

    model_config = ConfigDict(extra="ignore")

    media_type: str
    expires_at_ms: str


class _Info(BaseModel):
    """The record of a stored content, as any client of the object store reads it."""

    model_config = ConfigDict(extra="ignore")

    name: str
    bucket: str = OBJECT_STORE
    nuid: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    size: int = Field(ge=0)
    chunks: int = Field(ge=0)
    digest: str = ""
    mtime: str = ""
    options: dict[str, int] = {"max_chunk_size": CHUNK_BYTES}
    metadata: _Metadata


@dataclass(frozen=True)
class Content:
    """Where a content lies."""

    ref: BlobRef
    upload: str
    chunks: int


class Upload:
    """Chunks under a name of their own; unseen by readers until `finish`."""

    def __init__(self, jetstream: JetStreamContext, ttl: timedelta) -> None:
        self._jetstream = jetstream
        self._ttl_s = math.ceil(ttl.total_seconds())
        self._name = token_hex(16)
        self._chunks = 0

    async def add(self, chunk: bytes) -> None:
        """Store the next chunk."""
        # A chunk outlives its record, so that no reader loses the end of what it began.
        headers: dict[str, str] = {Header.MSG_TTL: str(self._ttl_s + CLOCK_SLACK_S)}
        subject = subjects.blob_content(self._name)
        self._chunks += 1
        await self._jetstream.publish(subject, chunk, timeout=STORE_TIMEOUT_S, headers=headers)

    async def finish(self, ref: BlobRef, digest: bytes) -> None:
        """Let readers of `ref` find the chunks, instead of others that were found before."""
        info = _Info(
            name=ref.sha256,
            nuid=self._name,
            size=ref.size_bytes,
            chunks=self._chunks,
            digest=f"SHA-256={urlsafe_b64encode(digest).decode('ascii')}",
            mtime=datetime.now(UTC).isoformat(),
            metadata=_Metadata(media_type=ref.media_type, expires_at_ms=str(ref.expires_at_ms)),
        )
        headers: dict[str, str] = {
            Header.ROLLUP: MSG_ROLLUP_SUBJECT,
            Header.MSG_TTL: str(self._ttl_s),
        }
        await self._jetstream.publish(
            subjects.blob_info(ref.sha256),
            info.model_dump_json().encode(),
            timeout=STORE_TIMEOUT_S,
            headers=headers,
        )

    async def withdraw(self) -> None:
        """Have the broker drop the chunks; if it does not hear it, they expire by themselves."""
        if not self._chunks:
            return
        headers: dict[str, str] = {Header.ROLLUP: MSG_ROLLUP_SUBJECT, Header.MSG_TTL: "1"}
        subject = subjects.blob_content(self._name)
        try:
            await self._jetstream.publish(subject, b"", timeout=WITHDRAW_TIMEOUT_S, headers=headers)
        except (js_errors.Error, nats.errors.Error, TimeoutError, OSError) as exc:
            log.warning("an upload was not withdrawn", extra={"error": type(exc).__name__})


def stored_as(record: bytes) -> Content:
    """Return where the content of a stored record lies.

    Raises:
        Unavailable: the record is not one of ours.
    """
    try:
        info = _Info.model_validate_json(record)
        ref = BlobRef(
            sha256=info.name,
            size_bytes=info.size,
            media_type=info.metadata.media_type,
            expires_at_ms=int(info.metadata.expires_at_ms),
        )
    except (ValidationError, ValueError) as exc:
        raise Unavailable("the record of a stored file cannot be read") from exc
    return Content(ref, info.nuid, info.chunks)


async def rechunked(content: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield `content` in chunks of `CHUNK_BYTES`, the last one shorter."""
    held = bytearray()
    async for piece in content:
        held += piece
        while len(held) >= CHUNK_BYTES:
            yield bytes(held[:CHUNK_BYTES])
            del held[:CHUNK_BYTES]
    if held:
        yield bytes(held)
