"""`GET /blobs/{sha256}`: a file of the object store, for whoever holds a signed address.

Nobody looked into the file, so that a browser must not either: it is always a download, of the
stated type, in a sandbox without an origin.

Source: RFC 6266 and RFC 8187 (Content-Disposition), Content Security Policy Level 3 (`sandbox`).
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from clawdbot.gateway.adapters.blob_links import BlobLinks
from clawdbot.gateway.adapters.body import Gate
from clawdbot.runtime.blobs import Blobs
from clawdbot.schema.blobs import MEDIA_TYPE, UNKNOWN_TYPE, BlobRef
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import NotFound

FIND_S = 2.0
_HASH = re.compile(r"[0-9a-f]{64}")
_TYPE = re.compile(MEDIA_TYPE)
_NO_NAME = re.compile(r"[\x00-\x1f\x7f/\\]")
_PLAIN_NAME = re.compile(r"[^A-Za-z0-9._ -]")


@dataclass(frozen=True)
class BlobEndpoint:
    """Streams files, a chunk of each in memory."""

    blobs: Blobs
    links: BlobLinks
    gate: Gate
    download_s: float
    """How long one download may take."""

    async def respond(self, request: Request) -> Response:
        """Return the file, or problem details."""
        sha256, name = self._checked(request)
        deadline = Deadline.after(self.download_s)
        ref = await self.blobs.find(sha256, deadline=deadline.within(FIND_S))
        if ref is None:
            raise NotFound("no such file", fix="files are kept for three days")
        chunks = self._content(ref, deadline)
        # What goes wrong until here can still be told; afterwards the connection breaks off.
        first = await anext(chunks, b"")
        return Download(first, chunks, _headers(ref, name), deadline)

    def _checked(self, request: Request) -> tuple[str, str]:
        sha256: str = request.path_params["sha256"]
        given = request.query_params.multi_items()
        query = dict(given)
        if len(query) != len(given) or not _HASH.fullmatch(sha256):
            raise NotFound("no such file")
        parts = [query.get(name, "") for name in ("expires", "name", "signature")]
        self.links.check(sha256, *parts)
        return sha256, parts[1]

    async def _content(self, ref: BlobRef, deadline: Deadline) -> AsyncGenerator[bytes, None]:
        with self.gate.enter():
            async with aclosing(self.blobs.get(ref, deadline=deadline)) as chunks:
                async for chunk in chunks:
                    yield chunk


class Download(Response):
    """Sends chunks as they come, and ends with the deadline whoever reads how slowly."""

    def __init__(
        self,
        first: bytes,
        rest: AsyncGenerator[bytes, None],
        headers: Mapping[str, str],
        deadline: Deadline,
    ) -> None:
        super().__init__(headers=dict(headers))
        # Of the whole, not of the empty body that the base class sees.
        self.raw_headers = [(k.lower().encode(), v.encode()) for k, v in headers.items()]
        self._first = first
        self._rest = rest
        self._deadline = deadline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 -- ASGI
        """Send it (ASGI)."""
        async with aclosing(self._rest), self._deadline.guard("a download took too long"):
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if scope["method"] != "HEAD":
                await send(_part(self._first))
                async for chunk in self._rest:
                    await send(_part(chunk))
            await send({"type": "http.response.body", "body": b""})


def _part(chunk: bytes) -> Message:
    return {"type": "http.response.body", "body": chunk, "more_body": True}


def _headers(ref: BlobRef, name: str) -> dict[str, str]:
    return {
        "Content-Type": ref.media_type if _TYPE.fullmatch(ref.media_type) else UNKNOWN_TYPE,
        "Content-Length": str(ref.size_bytes),
        "Content-Disposition": _disposition(name or ref.sha256[:16]),
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cache-Control": "private, no-store",
    }


def _disposition(name: str) -> str:
    name = _NO_NAME.sub("_", name)
    plain = _PLAIN_NAME.sub("_", name)
    encoded = quote(name, safe="", errors="replace")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"
