"""The chat model, over the bus."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing

from clawdbot.assistant.adapters import metrics
from clawdbot.assistant.domain.turn import Mandate
from clawdbot.runtime.bus import Bus
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.inference import (
    CHAT,
    COUNT,
    ChatDone,
    ChatRequest,
    ChatTurn,
    CountReply,
    CountRequest,
)


class ModelClient:
    """Implements `ports.Model` for one model of the inference service.

    Args:
        bus: how it is reached.
        name: the model's name, as the inference service knows it.
    """

    def __init__(self, bus: Bus, name: str) -> None:
        self._bus = bus
        self._name = name

    async def count(self, prompts: Sequence[Sequence[ChatTurn]], mandate: Mandate) -> CountReply:
        """Return the length of each prompt by the model's own tokenizer."""
        request = CountRequest(prompts=tuple(tuple(prompt) for prompt in prompts))
        return await self._bus.call(
            COUNT,
            request,
            deadline=mandate.deadline,
            principal=mandate.principal,
            target=self._name,
        )

    async def chat(
        self, request: ChatRequest, write: Callable[[str], Awaitable[None]], mandate: Mandate
    ) -> ChatDone:
        """Return the whole answer, after `write` got each of its pieces in order.

        Leaving early, by an error of `write` or by cancellation, ends the generation.

        Raises:
            NotFound: there is no such model; the message names its path and the fix.
            Unavailable: the answer broke off.
        """
        stream = self._bus.stream(
            CHAT,
            request,
            deadline=mandate.deadline,
            principal=mandate.principal,
            target=self._name,
        )
        started, is_first = time.monotonic(), True
        async with aclosing(stream) as pieces:
            async for piece in pieces:
                if is_first:
                    metrics.first_token_seconds.observe(time.monotonic() - started)
                    is_first = False
                if isinstance(piece, ChatDone):
                    return piece
                await write(piece.text)
        raise Unavailable("the model's answer broke off")
