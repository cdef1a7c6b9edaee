"""The embedding model of the port: tokenizer, scheduler and the thread that runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import accumulate, chain

import numpy as np

from clawdbot.inference.adapters import metrics
from clawdbot.inference.adapters.embed_scheduler import EmbedJob, EmbedScheduler, Vectors
from clawdbot.inference.adapters.embed_tokenizer import EmbedTokenizer
from clawdbot.inference.adapters.worker_thread import WorkerThread
from clawdbot.inference.domain.windows import pooled
from clawdbot.inference.ports.models import Embeddings
from clawdbot.runtime.telemetry import span
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, TooLarge
from clawdbot.schema.inference import Role

MAX_REQUEST_TOKENS = 131_072
"""256 texts of 512 tokens: ten to twenty seconds on two cores."""
MAX_REQUEST_CHARS = 8 * MAX_REQUEST_TOKENS
"""Refused before tokenising, which takes its time too; few texts have so long tokens."""


class ONNXEmbeddingModel:
    """Turns texts into unit vectors.

    Args:
        label: name (the rpc target), version and variant, such as `name/1/i8s`.
        tokenizer: of this model.
        scheduler: holds the model.
    """

    def __init__(self, label: str, *, tokenizer: EmbedTokenizer, scheduler: EmbedScheduler) -> None:
        self.label = label
        self._name = label.partition("/")[0]
        self._tokenizer = tokenizer
        self._scheduler = scheduler
        self._thread = WorkerThread(f"embed-{self._name}", scheduler.step)

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

    async def embed(self, texts: Sequence[str], role: Role, deadline: Deadline) -> Embeddings:
        """See `ports.models.EmbeddingModel`."""
        _refuse_long("characters", sum(map(len, texts)), MAX_REQUEST_CHARS)
        windows = await asyncio.to_thread(self._tokenizer.windows, texts, role)
        token_count = sum(map(len, chain.from_iterable(windows)))
        _refuse_long("tokens", token_count, MAX_REQUEST_TOKENS)
        with span("onnx.run", clawdbot__texts=len(texts), clawdbot__tokens=token_count):
            vectors = await self._run(list(chain.from_iterable(windows)), deadline)
        metrics.tokens_total.labels(self._name, "prompt").inc(token_count)
        return Embeddings(_merged(windows, vectors), token_count)

    async def _run(self, windows: list[list[int]], deadline: Deadline) -> list[Vectors]:
        result = _FutureResult()
        job = EmbedJob(windows, deadline, result)
        self._scheduler.submit(job)
        self._thread.wake()
        try:
            return await result.future
        finally:
            job.is_cancelled = True


class _FutureResult:
    """Carries vectors from the model's thread to the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[list[Vectors]] = self._loop.create_future()

    def done(self, vectors: list[Vectors]) -> None:
        self._loop.call_soon_threadsafe(self._settle, vectors, None)

    def fail(self, error: ClawdbotError) -> None:
        self._loop.call_soon_threadsafe(self._settle, [], error)

    def _settle(self, vectors: list[Vectors], error: ClawdbotError | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(vectors)
        else:
            self.future.set_exception(error)


def _merged(windows: list[list[list[int]]], vectors: list[Vectors]) -> Vectors:
    """Return one vector per text from those of its windows."""
    ends = list(accumulate(map(len, windows)))
    merged = [
        pooled(np.stack(vectors[end - len(text) : end]), list(map(len, text)))
        for text, end in zip(windows, ends, strict=True)
    ]
    return np.stack(merged)


def _refuse_long(unit: str, count: int, limit: int) -> None:
    if count > limit:
        raise TooLarge(
            f"the texts have {count} {unit}, one request may have {limit}", field="texts"
        )
