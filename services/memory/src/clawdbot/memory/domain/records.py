"""A memory with what is derived from it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clawdbot.memory.domain.owner import Owner
from clawdbot.memory.domain.tokens import tokens
from clawdbot.schema.memory import Memory

Vector = NDArray[np.float32]
"""One embedding: shape (dim,), float32, of unit length."""


@dataclass(frozen=True)
class Embedding:
    """A vector and the model it came from; vectors of two models are not comparable."""

    vector: Vector
    model: str


@dataclass(frozen=True)
class Terms:
    """The searchable words of a memory. A sensitive one has none: words would betray it."""

    counts: Counter[str] = field(default_factory=Counter)
    length: int = 0

    @classmethod
    def of(cls, memory: Memory) -> Terms:
        """Return the terms that may be stored of `memory`."""
        if memory.sensitive:
            return cls()
        words = tokens(memory.content)
        return cls(Counter(words), len(words))


@dataclass(frozen=True)
class Record:
    """A memory with what is kept beside it."""

    memory: Memory
    embedding: Embedding | None = None
    """None while inference has not given one yet."""
    terms: Terms = field(default_factory=Terms)

    @classmethod
    def of(cls, memory: Memory, embedding: Embedding | None) -> Record:
        """Return a new record of `memory`; splitting a long text into terms takes a while."""
        return cls(memory, embedding, Terms.of(memory))


@dataclass(frozen=True)
class Backlogged:
    """A memory that waits for its embedding."""

    owner: Owner
    memory: Memory
