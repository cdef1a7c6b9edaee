"""The chat model of the port: tokenizer, scheduler and the thread that runs it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

from clawdbot.inference.adapters import metrics
from clawdbot.inference.adapters.chat_tokenizer import ChatTokenizer
from clawdbot.inference.adapters.json_guides import JSONGuides
from clawdbot.inference.adapters.slot_scheduler import Generation, SlotScheduler
from clawdbot.inference.adapters.token_stream import TokenStream
from clawdbot.inference.adapters.worker_thread import WorkerThread
from clawdbot.inference.domain.sampling import Sampler, Sampling
from clawdbot.runtime.telemetry import span
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.inference import ChatTurn


class ONNXChatModel:
    """Continues conversations, several at once.

    Args:
        label: name (the rpc target) and version, such as `name/1`.
        context_length: tokens that prompt and answer may have together.
        tokenizer: of this model.
        guides: of this model, for answers in JSON.
        scheduler: holds the model.
    """

    def __init__(
        self,
        label: str,
        context_length: int,
        *,
        tokenizer: ChatTokenizer,
        guides: JSONGuides,
        scheduler: SlotScheduler,
    ) -> None:
        self.label = label
        self.context_length = context_length
        self._name = label.partition("/")[0]
        self._tokenizer = tokenizer
        self._guides = guides
        self._scheduler = scheduler
        self._thread = WorkerThread(f"chat-{self._name}", scheduler.step)

    def start(self) -> None:
        """Begin to answer; `close` must follow."""
        self._thread.start()

    async def watch(self) -> None:
        """Wait until the model's thread ends; raises what broke it."""
        await self._thread.watch()

    def close(self) -> None:
        """Stop the thread and fail what is left."""
        self._thread.close()
        self._scheduler.close("the inference service is stopping")

    async def prompts(self, conversations: Sequence[Sequence[ChatTurn]]) -> list[list[int]]:
        """See `ports.models.ChatModel`."""
        # One at a time: encoding holds the interpreter's lock, which others get in between.
        return [await asyncio.to_thread(self._tokenizer.encode, turns) for turns in conversations]

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, limit: int, deadline: Deadline
    ) -> AsyncGenerator[int, None]:
        """See `ports.models.ChatModel`."""
        sampler = await self._sampler(sampling)
        stream = TokenStream(limit)
        generation = Generation(prompt, sampler, limit, deadline, stream)
        self._scheduler.submit(generation)
        self._thread.wake()
        try:
            async with aclosing(_traced(stream, len(prompt))) as tokens:
                async for token in tokens:
                    yield token
        finally:
            generation.is_cancelled = True
            self._thread.wake()
            self._count(len(prompt), generation.count)

    async def _sampler(self, sampling: Sampling) -> Sampler:
        if sampling.json_schema is None:
            return Sampler(sampling)
        return await asyncio.to_thread(self._guides.sampler, sampling)

    def decode(self, tokens: Sequence[int]) -> str:
        """See `ports.models.ChatModel`."""
        return self._tokenizer.decode(tokens)

    def _count(self, prompt: int, completion: int) -> None:
        metrics.tokens_total.labels(self._name, "prompt").inc(prompt)
        metrics.tokens_total.labels(self._name, "completion").inc(completion)


async def _traced(tokens: AsyncIterator[int], prompt_tokens: int) -> AsyncGenerator[int, None]:
    with span("onnx.run prefill", clawdbot__prompt_tokens=prompt_tokens):
        first = await anext(tokens, None)
    if first is None:
        return
    yield first
    with span("onnx.run decode") as current:
        count = 1
        try:
            async for token in tokens:
                count += 1
                yield token
        except GeneratorExit:
            # Leaving early, at a stop string for example, is no error of the run.
            return
        finally:
            current.set_attribute("clawdbot.completion_tokens", count)
