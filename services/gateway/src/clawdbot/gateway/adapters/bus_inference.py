"""The inference service, over the bus."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from clawdbot.runtime.bus import Bus
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.inference import (
    CHAT,
    EMBED,
    MODELS,
    ChatDelta,
    ChatDone,
    ChatRequest,
    EmbedReply,
    EmbedRequest,
    ModelsRequest,
    ModelStatus,
)


class BusInference:
    """`Inference` on the bus."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def models(self, *, deadline: Deadline) -> tuple[ModelStatus, ...]:
        """Ask the replica that answers first."""
        return (await self._bus.call(MODELS, ModelsRequest(), deadline=deadline)).models

    async def chat(
        self, model: str, request: ChatRequest, *, deadline: Deadline
    ) -> AsyncGenerator[ChatDelta | ChatDone, None]:
        """Stream the answer; leaving says so to the replica that writes it."""
        stream = self._bus.stream(CHAT, request, deadline=deadline, target=model)
        async with aclosing(stream) as answer:
            async for item in answer:
                yield item

    async def embed(self, model: str, request: EmbedRequest, *, deadline: Deadline) -> EmbedReply:
        """Ask a replica that has the model."""
        return await self._bus.call(EMBED, request, deadline=deadline, target=model)
