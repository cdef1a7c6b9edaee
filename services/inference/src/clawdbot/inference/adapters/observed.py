"""Spans and counters around the handlers, with OpenTelemetry's names for generative models.

Source: OpenTelemetry semantic conventions 1.37, generative AI (Development).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager

from clawdbot.inference.adapters import metrics
from clawdbot.inference.handlers.chat import Chat
from clawdbot.inference.handlers.embed import Embed
from clawdbot.runtime.telemetry import Span, SpanKind, span
from clawdbot.schema.errors import ClawdbotError, DeadlineExceeded, Overloaded
from clawdbot.schema.inference import (
    ChatDelta,
    ChatDone,
    ChatRequest,
    CountReply,
    CountRequest,
    EmbedReply,
    EmbedRequest,
)
from clawdbot.schema.messages import Usage
from clawdbot.schema.rpc import Call


class ObservedChat:
    """`handlers.Chat`, measured."""

    def __init__(self, name: str, inner: Chat) -> None:
        self._name = name
        self._inner = inner

    async def chat(
        self, request: ChatRequest, call: Call
    ) -> AsyncGenerator[ChatDelta | ChatDone, None]:
        """See `handlers.Chat.chat`."""
        with _observed("chat", "chat", self._name) as current:
            current.set_attribute("gen_ai.request.max_tokens", request.max_tokens)
            current.set_attribute("gen_ai.request.temperature", request.temperature)
            async with aclosing(self._inner.chat(request, call)) as answer:
                async for item in answer:
                    if isinstance(item, ChatDone):
                        _note(current, item.model, item.usage)
                        break
                    yield item
        # Outside of the span: the caller leaves here, which is no error of the answer.
        yield item

    async def count(self, request: CountRequest, call: Call) -> CountReply:
        """See `handlers.Chat.count`."""
        with _observed("count", "count", self._name):
            return await self._inner.count(request, call)


class ObservedEmbed:
    """`handlers.Embed`, measured."""

    def __init__(self, name: str, inner: Embed) -> None:
        self._name = name
        self._inner = inner

    async def embed(self, request: EmbedRequest, call: Call) -> EmbedReply:
        """See `handlers.Embed.embed`."""
        with _observed("embed", "embeddings", self._name) as current:
            reply = await self._inner.embed(request, call)
            _note(current, reply.model, reply.usage)
            return reply


def _note(current: Span, model: str, usage: Usage) -> None:
    current.set_attribute("gen_ai.response.model", model)
    current.set_attribute("gen_ai.usage.input_tokens", usage.prompt_tokens)
    current.set_attribute("gen_ai.usage.output_tokens", usage.completion_tokens)


@contextmanager
def _observed(verb: str, operation: str, model: str) -> Iterator[Span]:
    with span(
        f"{operation} {model}",
        kind=SpanKind.INTERNAL,
        gen_ai__operation__name=operation,
        gen_ai__request__model=model,
        gen_ai__provider__name="clawdbot",
    ) as current:
        outcome = "internal"
        try:
            yield current
            outcome = "ok"
        except ClawdbotError as exc:
            outcome = exc.code
            if isinstance(exc, (Overloaded, DeadlineExceeded)):
                metrics.rejected_total.labels(model, exc.code).inc()
            raise
        except (asyncio.CancelledError, GeneratorExit):
            outcome = "cancelled"
            metrics.cancelled_total.labels(model).inc()
            raise
        finally:
            metrics.requests_total.labels(model, verb, outcome).inc()
