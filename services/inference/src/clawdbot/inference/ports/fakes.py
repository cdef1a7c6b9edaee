"""Models without weights, for tests; they record what they were asked."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from clawdbot.inference.domain.sampling import Sampling
from clawdbot.inference.ports.models import Embeddings
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError
from clawdbot.schema.inference import ChatTurn, Role

M = TypeVar("M")


@dataclass
class RecordingChatModel:
    """Answers with `answer`, one token per byte; prompts are the bytes of their contents."""

    answer: bytes = b"hello"
    label: str = "fake/1"
    context_length: int = 64
    samplings: list[Sampling] = field(default_factory=list)
    limits: list[int] = field(default_factory=list)
    closed_count: int = 0

    async def prompts(self, conversations: Sequence[Sequence[ChatTurn]]) -> list[list[int]]:
        """Return the bytes of all contents, for each conversation."""
        return [[*"".join(turn.content for turn in turns).encode()] for turns in conversations]

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, limit: int, deadline: Deadline
    ) -> AsyncGenerator[int, None]:
        """Yield the bytes of `answer`, at most `limit`."""
        del prompt, deadline
        self.samplings.append(sampling)
        self.limits.append(limit)
        try:
            for token in self.answer[:limit]:
                yield token
        finally:
            self.closed_count += 1

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the tokens as UTF-8."""
        return bytes(tokens).decode("utf-8", "replace")


@dataclass
class RecordingEmbeddingModel:
    """Gives every text the vector (1, 0)."""

    label: str = "fake/1/f32"
    roles: list[Role] = field(default_factory=list)

    async def embed(self, texts: Sequence[str], role: Role, deadline: Deadline) -> Embeddings:
        """Return one vector per text; each character counts as a token."""
        del deadline
        self.roles.append(role)
        vectors = np.tile(np.array([1, 0], np.float32), (len(texts), 1))
        return Embeddings(vectors, sum(map(len, texts)))


@dataclass(frozen=True)
class Fixed(Generic[M]):
    """A place that always holds the model, or always the error."""

    model: M | ClawdbotError

    def get(self) -> M:
        """Return the model, or raise the error."""
        if isinstance(self.model, ClawdbotError):
            raise self.model
        return self.model
