"""Vectors from the inference service, over the bus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np

from clawdbot.memory.adapters.metrics import embed_failures
from clawdbot.memory.domain.records import Embedding
from clawdbot.memory.ports import Embeddings
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, Internal
from clawdbot.schema.inference import EMBED, EmbedReply, EmbedRequest, Role
from clawdbot.schema.rpc import Rpc
from clawdbot.schema.wire import Wire

Req = TypeVar("Req", bound=Wire)
Rep = TypeVar("Rep", bound=Wire)


class Caller(Protocol):
    """The part of the bus that is used here."""

    async def call(
        self, rpc: Rpc[Req, Rep], request: Req, *, deadline: Deadline, target: str | None = None
    ) -> Rep:
        """Return the answer of whoever serves `rpc`."""
        ...


class InferenceEmbedder:
    """Implements `ports.Embedder`.

    Args:
        bus: carries the calls.
        model: name of the embedding model, as inference serves it.
    """

    def __init__(self, bus: Caller, model: str) -> None:
        self._bus = bus
        self._model = model

    async def passages(self, texts: Sequence[str], *, deadline: Deadline) -> Embeddings:
        """See `ports.Embedder.passages`."""
        return await self._embed(texts, Role.PASSAGE, deadline)

    async def query(self, text: str, *, deadline: Deadline) -> Embedding:
        """See `ports.Embedder.query`."""
        found = await self._embed([text], Role.QUERY, deadline)
        return Embedding(found.vectors[0], found.model)

    async def _embed(self, texts: Sequence[str], role: Role, deadline: Deadline) -> Embeddings:
        request = EmbedRequest(texts=tuple(texts), role=role)
        try:
            reply = await self._bus.call(EMBED, request, deadline=deadline, target=self._model)
            return _embeddings(reply, len(texts))
        except ClawdbotError as exc:
            embed_failures.labels(role=role.value, code=exc.code).inc()
            raise


def _embeddings(reply: EmbedReply, count: int) -> Embeddings:
    tensor = reply.vectors
    if tensor.dtype != "float32" or len(tensor.shape) != 2 or tensor.shape[0] != count:
        raise Internal(f"inference answered {tensor.dtype} {tensor.shape} for {count} texts")
    if len(tensor.data) != 4 * count * tensor.shape[1] or tensor.shape[1] < 1:
        raise Internal(f"inference answered {len(tensor.data)} bytes as {tensor.shape}")
    vectors = np.frombuffer(tensor.data, "<f4").astype(np.float32).reshape(tensor.shape)
    if not np.isfinite(vectors).all():
        raise Internal("inference answered a vector that is not finite")
    return Embeddings(vectors, reply.model)
