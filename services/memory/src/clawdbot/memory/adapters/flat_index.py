"""One owner's vectors of one model in FAISS: exact search, by the ids of memories."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import faiss
import numpy as np

from clawdbot.memory.domain.records import Vector
from clawdbot.schema.errors import Internal

# More threads gave nothing per query and hurt under load; replicas scale instead.
faiss.omp_set_num_threads(1)

BYTES_PER_ID = 300
"""Two dictionary entries, a short string and FAISS's own map, in bytes per vector."""
BYTES_EMPTY = 4_096
"""An index without vectors: many users have one, so it must count against the budget."""


class FlatIndex:
    """`IndexFlatIP` under string ids. Not safe for use by two threads at a time.

    Args:
        dim: components of each vector.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._index = faiss.IndexIDMap2(faiss.IndexFlatIP(dim))
        self._numbers: dict[str, int] = {}
        self._ids: dict[int, str] = {}
        self._next = 0

    def __len__(self) -> int:
        """Return how many vectors are held."""
        return len(self._numbers)

    @property
    def size_bytes(self) -> int:
        """About how much memory it takes."""
        return BYTES_EMPTY + len(self) * (self.dim * 4 + BYTES_PER_ID)

    def add(self, items: Iterable[tuple[str, Vector]]) -> None:
        """Take in vectors of shape (dim,); ids that are held already are left alone.

        Raises:
            Internal: a vector has another number of components.
        """
        new = {memory_id: vector for memory_id, vector in items if memory_id not in self._numbers}
        if not new:
            return
        if any(vector.shape != (self.dim,) for vector in new.values()):
            raise Internal(f"an index of {self.dim} components was given a vector of another size")
        numbers = np.arange(self._next, self._next + len(new), dtype=np.int64)
        self._index.add_with_ids(np.stack(list(new.values())), numbers)
        for number, memory_id in zip(numbers.tolist(), new, strict=True):
            self._numbers[memory_id] = number
            self._ids[number] = memory_id
        self._next += len(new)

    def remove(self, ids: Iterable[str]) -> None:
        """Take out those of `ids` that are held; takes time in proportion to all of them."""
        gone = [self._numbers.pop(each) for each in set(ids) if each in self._numbers]
        for number in gone:
            del self._ids[number]
        if gone:
            self._index.remove_ids(faiss.IDSelectorBatch(np.array(gone, dtype=np.int64)))

    def search(
        self, query: Vector, count: int, among: Sequence[str] | None = None
    ) -> dict[str, float]:
        """Return the exact `count` nearest of `among` (None: of all), with inner products."""
        parameters = None
        if among is not None:
            numbers = [self._numbers[each] for each in among if each in self._numbers]
            if not numbers:
                return {}
            parameters = faiss.SearchParameters()
            selector = faiss.IDSelectorBatch(np.array(numbers, dtype=np.int64))
            parameters.sel = selector
        scores, found = self._index.search(query[np.newaxis], count, params=parameters)
        # FAISS pads with -1 where there are fewer than asked for.
        pairs = zip(found[0].tolist(), scores[0].tolist(), strict=True)
        return {self._ids[number]: score for number, score in pairs if number >= 0}
