"""BM25 over whatever terms a query and its candidates share.

Source: Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework", section 3; the
logarithm is Lucene's, which is never negative. `k1` and `b` are those of Anserini's baselines.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from clawdbot.memory.domain.tokens import is_single_character

K1 = 0.9
B = 0.4
SINGLE_CHARACTER_WEIGHT = 0.3
"""One CJK character matches far more than it means; the pairs around it carry the weight."""


@dataclass(frozen=True)
class Postings:
    """Where the terms of a query occur, among the memories that may answer it."""

    count: int = 0
    """Memories that may answer."""
    total_length: int = 0
    """Terms in all of them, repetitions included."""
    lengths: Mapping[str, int] | None = None
    """Terms in each memory that holds a term of the query, by id."""
    frequencies: Mapping[str, Mapping[str, int]] | None = None
    """How often each term of the query occurs, by term, then by id."""

    @classmethod
    def of(cls, documents: Mapping[str, list[str]], terms: Iterable[str]) -> Postings:
        """Return the postings of `terms` in tokenised `documents`, by id."""
        wanted = set(terms)
        frequencies: dict[str, dict[str, int]] = {}
        for memory_id, words in documents.items():
            for word in words:
                if word in wanted:
                    row = frequencies.setdefault(word, {})
                    row[memory_id] = row.get(memory_id, 0) + 1
        lengths = {memory_id: len(words) for memory_id, words in documents.items()}
        return cls(len(documents), sum(lengths.values()), lengths, frequencies)

    def joined(self, other: Postings) -> Postings:
        """Return the postings over both sets of memories, which share no id."""
        mine, theirs = self.frequencies or {}, other.frequencies or {}
        return Postings(
            self.count + other.count,
            self.total_length + other.total_length,
            {**(self.lengths or {}), **(other.lengths or {})},
            {term: {**mine.get(term, {}), **theirs.get(term, {})} for term in {**mine, **theirs}},
        )


def scores(postings: Postings) -> dict[str, float]:
    """Return the score of each memory that holds at least one term; higher is better."""
    lengths = postings.lengths or {}
    mean_length = max(1.0, postings.total_length / max(1, postings.count))
    total: dict[str, float] = {}
    # In a fixed order: a sum of floats depends on it in the last bit.
    for term, found in sorted((postings.frequencies or {}).items()):
        rarity = _rarity(term, len(found), postings.count)
        for memory_id, frequency in found.items():
            norm = K1 * (1 - B + B * lengths[memory_id] / mean_length)
            gained = rarity * frequency * (K1 + 1) / (frequency + norm)
            total[memory_id] = total.get(memory_id, 0.0) + gained
    return total


def _rarity(term: str, holders: int, count: int) -> float:
    weight = SINGLE_CHARACTER_WEIGHT if is_single_character(term) else 1.0
    return weight * math.log(1 + (count - holders + 0.5) / (holders + 0.5))
