"""Replies to webhook messages, posted to the operator's callback and signed like what came in.

Source: W3C Trace Context for `traceparent`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from clawdbot.gateway.adapters import metrics
from clawdbot.gateway.adapters.http_errors import error_of_status
from clawdbot.gateway.adapters.records import stored_record
from clawdbot.gateway.adapters.signature import WebhookKey
from clawdbot.gateway.adapters.webhook import ReplyAddress
from clawdbot.runtime.telemetry import SpanKind, inject, span
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, Unavailable
from clawdbot.schema.messages import OutboundMessage


class HTTPCallback:
    """A `Callback` over HTTP; redirects are not followed, so the operator's address is the last.

    Args:
        client: without redirects.
        url: where replies are posted.
        key: signs each body.
    """

    def __init__(
        self, client: httpx.AsyncClient, url: str, key: WebhookKey, *, timeout_s: float
    ) -> None:
        self._client = client
        self._url = url
        self._key = key
        self._timeout_s = timeout_s

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: str, key: WebhookKey, *, timeout_s: float
    ) -> AsyncIterator[HTTPCallback]:
        """Hold the connections to the callback while the context lasts."""
        async with httpx.AsyncClient(follow_redirects=False, trust_env=False) as client:
            yield cls(client, url, key, timeout_s=timeout_s)

    async def post(self, reply: OutboundMessage, *, deadline: Deadline) -> None:
        """Post `reply` once; its idempotency key is the same at every attempt."""
        body = json.dumps(_record(reply), ensure_ascii=False).encode()
        headers = {
            "Content-Type": "application/json",
            "X-Signature": self._key.sign(body),
            "Idempotency-Key": f"{reply.message_id}.{reply.part}",
        }
        with span("POST callback", kind=SpanKind.CLIENT, http__request__method="POST"):
            inject(headers)
            error = await self._attempt(body, headers, deadline)
        metrics.callbacks.labels("delivered" if error is None else error.code).inc()
        if error is not None:
            raise error

    async def _attempt(
        self, body: bytes, headers: dict[str, str], deadline: Deadline
    ) -> ClawdbotError | None:
        left_s = deadline.within(self._timeout_s).require()
        try:
            # The answer's body is nobody's business: closing unread bounds it.
            # The client's own time-outs are for each read: an answer that drips has none.
            async with (
                asyncio.timeout(left_s),
                self._client.stream(
                    "POST", self._url, content=body, headers=headers, timeout=left_s
                ) as response,
            ):
                wait = response.headers.get("retry-after", "")
                return error_of_status("the callback", response.status_code, wait)
        except (httpx.HTTPError, TimeoutError) as exc:
            return Unavailable(f"the callback is not reachable: {type(exc).__name__}")


def _record(reply: OutboundMessage) -> dict[str, object]:
    address = ReplyAddress.read(reply.reply_to)
    return {
        "message_id": reply.message_id,
        "conversation_id": reply.conversation_id,
        "thread_id": reply.thread_id,
        "part": reply.part,
        "is_final": reply.is_final,
        **address.model_dump(),
        **stored_record(reply),
    }
