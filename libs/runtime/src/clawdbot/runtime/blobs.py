"""The object store `blobs`: bytes named by their hash, in the layout of NATS ADR-20.

Reading asks for one chunk after the other by direct get, and writing withdraws what it does not
need by a rollup message: a service needs neither a consumer nor the right to purge. Every message
carries its own time to live, so that the broker itself sweeps what has expired.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta

import nats.errors
from nats.js import errors as js_errors
from nats.js.api import RawStreamMsg

from clawdbot.runtime.blob_upload import Content, Upload, rechunked, stored_as
from clawdbot.runtime.bus import Bus
from clawdbot.schema import subjects
from clawdbot.schema.blobs import BLOB_TTL, UNKNOWN_TYPE, BlobRef
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import NotFound, Overloaded, TooLarge, Unavailable
from clawdbot.schema.streams import OBJECT_STREAM

log = logging.getLogger(__name__)

REUSE_SHARE = 0.5
"""Content that is there already is not stored again while it lasts this share of what is asked."""
STORE_FULL = 10077
"""Broker's error code for a stream at its `max_bytes`."""
FULL_RETRY_S = 60.0


class Blobs:
    """Puts and gets; every call raises Unavailable when the broker does not answer.

    Args:
        bus: of a service that the table of permissions lets put or get.
        max_bytes: longest content, in both directions.
    """

    def __init__(self, bus: Bus, *, max_bytes: int) -> None:
        self._bus = bus
        self._max_bytes = max_bytes

    async def put(
        self,
        content: AsyncIterable[bytes],
        media_type: str = UNKNOWN_TYPE,
        *,
        deadline: Deadline,
        ttl: timedelta = BLOB_TTL,
    ) -> BlobRef:
        """Store `content` and return its name; the same content is stored once.

        Args:
            content: in pieces of any length; at most one chunk of it is held in memory.
            media_type: what it is said to be; the first one said is kept.
            deadline: until when all of it is read and stored.
            ttl: how long it is wanted; content that is there already may last half as long.

        Raises:
            TooLarge: it is longer than `max_bytes`; nothing of it is kept.
            Overloaded: the object store is full.
        """
        upload = Upload(self._bus.jetstream, ttl)
        may_be_named = False
        try:
            async with self._asking(deadline):
                digest, size = await self._send(content, upload)
                known = await self.find(digest.hex(), deadline=deadline)
                if known is not None and _lasts(known, REUSE_SHARE * ttl):
                    return known
                expires_at_ms = int((time.time() + ttl.total_seconds()) * 1000)
                ref = BlobRef(
                    sha256=digest.hex(),
                    size_bytes=size,
                    media_type=media_type,
                    expires_at_ms=expires_at_ms,
                )
                # A record whose confirmation is lost names these chunks all the same.
                may_be_named = True
                try:
                    await upload.finish(ref, digest)
                except js_errors.APIError:
                    may_be_named = False
                    raise
                return ref
        finally:
            if not may_be_named:
                await upload.withdraw()

    async def _send(self, content: AsyncIterable[bytes], upload: Upload) -> tuple[bytes, int]:
        digest, size = hashlib.sha256(), 0
        async with aclosing(rechunked(content)) as chunks:
            async for chunk in chunks:
                size += len(chunk)
                if size > self._max_bytes:
                    raise TooLarge(f"the file is longer than {self._max_bytes} bytes")
                digest.update(chunk)
                await upload.add(chunk)
        return digest.digest(), size

    async def find(self, sha256: str, *, deadline: Deadline) -> BlobRef | None:
        """Return the reference to content of this hash, or None when it is not there (any more)."""
        found = await self._content(sha256, deadline)
        return None if found is None else found.ref

    async def get(self, ref: BlobRef, *, deadline: Deadline) -> AsyncGenerator[bytes, None]:
        """Yield the content in chunks; close it (`contextlib.aclosing`) when leaving early.

        The last chunk is held back until the hash of everything was compared: who has all of
        `ref.size_bytes` has what was named, and who must not act on a part waits for the end.

        Raises:
            NotFound: it has expired, or what is stored is not what `ref` names.
            TooLarge: it is longer than `max_bytes`.
            Unavailable: part of it could not be read.
        """
        if ref.size_bytes > self._max_bytes:
            raise TooLarge(f"the file is longer than {self._max_bytes} bytes")
        found = await self._content(ref.sha256, deadline)
        if found is None:
            raise NotFound("the file has expired", fix="send it again")
        digest, received, held = hashlib.sha256(), 0, b""
        async with aclosing(self._chunks(found, deadline)) as chunks:
            async for chunk in chunks:
                received += len(chunk)
                if received > ref.size_bytes:
                    break
                digest.update(chunk)
                if held:
                    yield held
                held = chunk
        if received != ref.size_bytes or not hmac.compare_digest(digest.hexdigest(), ref.sha256):
            log.error("a blob is not what its name says", extra={"sha256": ref.sha256})
            raise NotFound("the stored file is damaged", fix="send it again")
        if held:
            yield held

    async def read(self, ref: BlobRef, *, deadline: Deadline) -> bytes:
        """Return the whole content, checked; raises as `get`."""
        async with aclosing(self.get(ref, deadline=deadline)) as chunks:
            return b"".join([chunk async for chunk in chunks])

    async def _chunks(self, content: Content, deadline: Deadline) -> AsyncGenerator[bytes, None]:
        subject, sequence = subjects.blob_content(content.upload), 1
        for _ in range(content.chunks):
            raw = await self._ask(deadline, subject=subject, seq=sequence, next=True)
            if raw is None:
                raise Unavailable("part of a stored file is missing")
            yield raw.data or b""
            sequence = (raw.seq or 0) + 1

    async def _content(self, sha256: str, deadline: Deadline) -> Content | None:
        raw = await self._ask(deadline, subject=subjects.blob_info(sha256))
        content = None if raw is None else stored_as(raw.data or b"")
        return content if content is not None and _lasts(content.ref, timedelta()) else None

    async def _ask(self, deadline: Deadline, **which: object) -> RawStreamMsg | None:
        async with self._asking(deadline):
            try:
                return await self._bus.jetstream.get_msg(OBJECT_STREAM, direct=True, **which)  # type: ignore[arg-type]  # its own keywords
            except js_errors.NotFoundError:
                return None

    @asynccontextmanager
    async def _asking(self, deadline: Deadline) -> AsyncIterator[None]:
        if not self._bus.is_connected:
            raise Unavailable("the broker is not reachable")
        try:
            async with deadline.guard("the object store did not answer in time"):
                yield
        except js_errors.APIError as exc:
            if exc.err_code == STORE_FULL:
                raise Overloaded("the object store is full", retry_after_s=FULL_RETRY_S) from exc
            raise Unavailable("the object store refused") from exc
        except (js_errors.Error, nats.errors.Error, TimeoutError, OSError) as exc:
            raise Unavailable("the object store cannot be reached") from exc


def _lasts(ref: BlobRef, wanted: timedelta) -> bool:
    return ref.expires_at_ms / 1000 > time.time() + wanted.total_seconds()
