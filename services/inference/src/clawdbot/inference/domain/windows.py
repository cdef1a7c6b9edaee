"""Texts longer than a model reads: cut in windows, whose vectors are averaged by length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


def split(tokens: Sequence[int], room: int) -> list[list[int]]:
    """Return `tokens` in consecutive windows of at most `room`; one empty window for no tokens."""
    starts = range(0, max(len(tokens), 1), room)
    return [list(tokens[start : start + room]) for start in starts]


def pooled(vectors: Vectors, lengths: Sequence[int]) -> Vectors:
    """Return the unit vector of a whole text.

    Args:
        vectors: [windows, dim], one per window.
        lengths: tokens of each window, all above 0.

    Returns:
        [dim] float32 of L2 norm 1; zeros when the windows cancel each other out.
    """
    weights = np.asarray(lengths, np.float64)
    mean = weights @ vectors.astype(np.float64) / weights.sum()
    norm = float(np.linalg.norm(mean))
    return np.asarray(mean / norm if norm > 0 else mean, np.float32)
