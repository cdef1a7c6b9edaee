"""The fake of `ports.Embedder`: vectors that depend on the text alone, for tests."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from clawdbot.memory.domain.records import Embedding, Vector
from clawdbot.memory.ports import Embeddings
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError


class RecordingEmbedder:
    """Remembers what it was asked, and fails on demand.

    Args:
        dim: components of each vector.
        model: id that vectors carry.
    """

    def __init__(self, dim: int = 16, model: str = "recording-1") -> None:
        self.dim = dim
        self.model = model
        self.embedded: list[str] = []
        """Passages, in the order they were given."""
        self.asked: list[str] = []
        """Questions, in the order they were given."""
        self.failure: ClawdbotError | None = None
        """Raised by every call while it is set."""
        self.refused: dict[str, ClawdbotError] = {}
        """Raised by calls that hold this text."""

    async def passages(self, texts: Sequence[str], *, deadline: Deadline) -> Embeddings:
        """See `ports.Embedder.passages`."""
        self._fail(texts, deadline)
        self.embedded.extend(texts)
        return Embeddings(np.stack([self.vector(text) for text in texts]), self.model)

    async def query(self, text: str, *, deadline: Deadline) -> Embedding:
        """See `ports.Embedder.query`."""
        self._fail([text], deadline)
        self.asked.append(text)
        return Embedding(self.vector(text), self.model)

    def vector(self, text: str) -> Vector:
        """Return the unit vector of `text`: equal texts have equal ones, others unlike ones."""
        digest = hashlib.sha256(f"{self.model}\x1f{text}".encode()).digest()
        drawn = np.random.default_rng(list(digest)).standard_normal(self.dim)
        return (drawn / np.linalg.norm(drawn)).astype(np.float32)

    def _fail(self, texts: Sequence[str], deadline: Deadline) -> None:
        deadline.require()
        if self.failure is not None:
            raise self.failure
        for text in texts:
            if text in self.refused:
                raise self.refused[text]
