"""One ranking from two: scores are scaled and added, not ranks.

On a dialogue benchmark this found more than reciprocal rank fusion, which was worse than its better
half alone.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Ranked:
    """A candidate with its fused score and what it is made of, each in 0..1."""

    memory_id: str
    score: float
    keyword: float
    semantic: float


def top(scores: Mapping[str, float], count: int) -> dict[str, float]:
    """Return the `count` best of `scores`; equal ones in the order of their ids."""
    best = heapq.nsmallest(count, scores.items(), key=lambda item: (-item[1], item[0]))
    return dict(best)


def fused(
    keyword: Mapping[str, float],
    semantic: Mapping[str, float],
    semantic_weight: float,
    *,
    limit: int,
) -> list[Ranked]:
    """Return the best of the union of both, best first; equal ones in the order of their ids.

    Args:
        keyword: BM25 scores of its candidates, by id.
        semantic: inner products of its candidates, by id.
        semantic_weight: share of the semantic score, in 0..1; the rest is the keyword's.
        limit: at most so many are returned.
    """
    union = keyword.keys() | semantic.keys()
    # Without a shared term BM25 is zero; without a similarity among the best, it is at most theirs.
    by_keyword = _scaled(keyword, union, missing=0.0)
    by_meaning = _scaled(semantic, union, missing=min(semantic.values(), default=0.0))
    ranked = [
        Ranked(
            memory_id,
            semantic_weight * by_meaning[memory_id] + (1 - semantic_weight) * by_keyword[memory_id],
            by_keyword[memory_id],
            by_meaning[memory_id],
        )
        for memory_id in union
    ]
    return heapq.nsmallest(limit, ranked, key=lambda item: (-item.score, item.memory_id))


def _scaled(scores: Mapping[str, float], union: set[str], *, missing: float) -> dict[str, float]:
    """Return `scores` over `union`, min-max scaled to 0..1; all alike are 1 where they exist."""
    raw = {memory_id: scores.get(memory_id, missing) for memory_id in union}
    low, high = min(raw.values(), default=0.0), max(raw.values(), default=0.0)
    if high <= low:
        return {memory_id: float(memory_id in scores) for memory_id in union}
    return {memory_id: (value - low) / (high - low) for memory_id, value in raw.items()}
