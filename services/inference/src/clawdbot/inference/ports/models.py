"""Models as the handlers see them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from clawdbot.inference.domain.sampling import Sampling
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.inference import ChatTurn, ModelStatus, Role

M_co = TypeVar("M_co", covariant=True)


class ChatModel(Protocol):
    """A model that continues conversations."""

    @property
    def label(self) -> str:
        """Name and version."""

    @property
    def context_length(self) -> int:
        """Tokens that prompt and answer may have together."""

    async def prompts(self, conversations: Sequence[Sequence[ChatTurn]]) -> list[list[int]]:
        """Return each conversation's tokens, ready for the answer to begin.

        Raises:
            InvalidMessage: the model's template refuses the order of the roles.
        """

    def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, limit: int, deadline: Deadline
    ) -> AsyncGenerator[int, None]:
        """Yield the answer's tokens; fewer than `limit` mean that the model ended it.

        Closing the generator frees the model within one step.

        Raises:
            InvalidMessage: the JSON Schema in `sampling` cannot be followed.
            Overloaded: too many wait already.
            DeadlineExceeded: nobody wants the answer any more.
            Unavailable: the model broke down, or the service is stopping.
        """

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of `tokens`, without control tokens."""


@dataclass(frozen=True)
class Embeddings:
    """Vectors, and what they cost."""

    vectors: NDArray[np.float32]
    """[texts, dim], C-contiguous, each row of L2 norm 1."""
    token_count: int


class EmbeddingModel(Protocol):
    """A model that turns texts into vectors."""

    @property
    def label(self) -> str:
        """Name, version and variant: vectors of different labels cannot be compared."""

    async def embed(self, texts: Sequence[str], role: Role, deadline: Deadline) -> Embeddings:
        """Return one vector per text, in the order given.

        Raises:
            TooLarge: the texts have more tokens than one request may.
            Overloaded: too many wait already.
            DeadlineExceeded: nobody wants the vectors any more.
            Unavailable: the model broke down, or the service is stopping.
        """


class Served(Protocol[M_co]):
    """A model's place: the model may be loading, or have failed to."""

    def get(self) -> M_co:
        """Return the model.

        Raises:
            Unavailable: it is still loading.
            NotFound: it cannot be loaded; the message names the path and the fix.
        """


class Catalogue(Protocol):
    """All models of this replica."""

    def statuses(self) -> tuple[ModelStatus, ...]:
        """Return where each stands."""
