"""Choosing the next token from a model's logits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen; the defaults are greedy."""

    temperature: float = 0.0
    """0 takes the most likely token."""
    top_p: float = 1.0
    """Only the smallest set of tokens whose probabilities reach this sum is drawn from."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that the answer holds already become less likely.

    Not those of the prompt: the facts to be repeated stand there.
    """
    seed: int | None = None
    """The same seed, prompt and model give the same tokens."""
    json_schema: str | None = None
    """A JSON Schema: only tokens that lead to JSON of this form are taken."""
    is_json_optional: bool = False
    """Whether text that does not begin with `{` will do as well."""


class Sampler:
    """Draws one answer's tokens; holds its own random state, so neighbours cannot disturb it."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._seen: set[int] = set()
        seed = sampling.seed
        # NumPy takes no negative seed, callers may.
        self._random = np.random.default_rng(None if seed is None else seed % 2**64)

    @property
    def is_complete(self) -> bool:
        """Whether nothing may follow, whatever the model wants."""
        return False

    def pick(self, logits: Logits) -> int:
        """Return the next token, and remember it.

        Args:
            logits: [vocabulary] float; left unchanged.
        """
        token = self._choose(self._penalised(logits))
        self._seen.add(token)
        return token

    def _penalised(self, logits: Logits) -> Logits:
        """Source: CTRL (Keskar et al. 2019, section 4.1), with the sign rule in common use."""
        penalty = self._sampling.repetition_penalty
        if penalty == 1.0:
            return logits
        seen = np.fromiter(self._seen, np.int64, len(self._seen))
        changed = logits.copy()
        values = changed[seen]
        changed[seen] = np.where(values > 0, values / penalty, values * penalty)
        return changed

    def _choose(self, logits: Logits) -> int:
        if self._sampling.temperature == 0.0:
            return int(np.argmax(logits))
        scaled = (logits.astype(np.float64) - logits.max()) / self._sampling.temperature
        weights = np.exp(scaled)
        return self._draw(weights / weights.sum())

    def _draw(self, probabilities: NDArray[np.float64]) -> int:
        if self._sampling.top_p == 1.0:
            return _drawn(probabilities, self._random.random())
        kept = nucleus(probabilities, self._sampling.top_p)
        return int(kept[_drawn(probabilities[kept], self._random.random())])


def nucleus(probabilities: NDArray[np.float64], top_p: float) -> NDArray[np.intp]:
    """Return the fewest tokens whose probabilities reach `top_p`, most likely first.

    Source: Holtzman et al. 2020, section 3.1.
    """
    order = np.argsort(-probabilities, kind="stable")
    reached = np.searchsorted(np.cumsum(probabilities[order]), top_p)
    return order[: int(reached) + 1]


def _drawn(weights: NDArray[np.float64], at: float) -> int:
    sums = np.cumsum(weights)
    # Rounding may bring the drawn value up to the last sum, where there is nothing to draw.
    drawn = min(at * sums[-1], np.nextafter(sums[-1], 0.0))
    return int(np.searchsorted(sums, drawn, side="right"))
