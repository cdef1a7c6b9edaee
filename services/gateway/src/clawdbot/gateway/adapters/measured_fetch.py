"""Counts what came of each file that was asked for."""

from __future__ import annotations

from clawdbot.gateway.adapters import metrics
from clawdbot.gateway.handlers.files import FetchFile
from clawdbot.schema.attachments import FetchAttachmentReply, FetchAttachmentRequest
from clawdbot.schema.errors import ClawdbotError
from clawdbot.schema.rpc import Call


class MeasuredFetch:
    """Answers as `fetch` does, counted."""

    def __init__(self, fetch: FetchFile) -> None:
        self._fetch = fetch

    async def __call__(self, request: FetchAttachmentRequest, call: Call) -> FetchAttachmentReply:
        """See `FetchFile`."""
        try:
            reply = await self._fetch(request, call)
        except ClawdbotError as exc:
            metrics.fetches.labels(exc.code).inc()
            raise
        metrics.fetches.labels("inline" if reply.blob is None else "blob").inc()
        return reply
