"""Choosing only tokens that lead to an answer of a given form."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clawdbot.inference.domain.sampling import Logits, Sampler, Sampling

Tokens = NDArray[np.bool_]
"""[vocabulary]: which tokens are meant."""


class Guide(Protocol):
    """Follows one answer."""

    @property
    def is_over(self) -> bool:
        """Whether the answer is complete and nothing may follow."""

    def allowed(self) -> Tokens | None:
        """Return the tokens that may come next, at least one; None when all may.

        Raises:
            InvalidMessage: the form cannot be followed any further.
        """

    def take(self, token: int) -> None:
        """Take note of the next token, one of those allowed."""


class GuidedSampler(Sampler):
    """Draws among the tokens that a guide allows."""

    def __init__(self, sampling: Sampling, guide: Guide) -> None:
        super().__init__(sampling)
        self._guide = guide

    @property
    def is_complete(self) -> bool:
        """Whether the guide lets nothing follow."""
        return self._guide.is_over

    def pick(self, logits: Logits) -> int:
        """Return the next token, and tell the guide."""
        allowed = self._guide.allowed()
        token = super().pick(logits if allowed is None else masked(logits, allowed))
        self._guide.take(token)
        return token


class OptionalGuide:
    """Guides an answer that begins as the form does, and leaves any other alone.

    Args:
        guide: of the form.
        openers: tokens that an answer without the form may not begin with, so that its beginning
            tells which it is.
    """

    def __init__(self, guide: Guide, openers: Tokens) -> None:
        self._guide: Guide | None = guide
        self._openers: Tokens | None = openers

    @property
    def is_over(self) -> bool:
        """Whether the form is complete."""
        return self._guide is not None and self._guide.is_over

    def allowed(self) -> Tokens | None:
        """Return what may come next: at first either, then what was begun."""
        if self._guide is None:
            return None
        formed = self._guide.allowed()
        return formed if self._openers is None or formed is None else formed | ~self._openers

    def take(self, token: int) -> None:
        """Take note of the next token; the first one decides."""
        if self._openers is not None and not self._openers[token]:
            self._guide = None
        self._openers = None
        if self._guide is not None:
            self._guide.take(token)


def masked(logits: Logits, allowed: Tokens) -> Logits:
    """Return the logits of the allowed tokens, and minus infinity for all others."""
    known = min(len(logits), len(allowed))
    kept = np.full_like(logits, -np.inf)
    np.copyto(kept[:known], logits[:known], where=allowed[:known])
    return kept
