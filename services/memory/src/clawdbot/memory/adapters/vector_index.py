"""Every owner's own index, read from SQL on first use and dropped when memory runs short.

The key is (tenant, user, model). An index that holds one user's vectors of one model needs no
filter to keep others out: search in it is exact and isolated by construction, while a filter on a
shared index costs recall (approximate ones) or time (exact ones), and a forgotten one leaks.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import methodcaller
from typing import Final, NamedTuple, TypeVar

from clawdbot.memory.adapters import metrics
from clawdbot.memory.adapters.flat_index import FlatIndex
from clawdbot.memory.adapters.threads import run_to_end
from clawdbot.memory.domain.owner import Owner
from clawdbot.memory.domain.records import Embedding, Record
from clawdbot.memory.ports import VectorSource
from clawdbot.runtime.telemetry import span
from clawdbot.schema.errors import Internal
from clawdbot.schema.ids import Tenant

INLINE_VECTORS: Final = 5_000
"""Below this a search takes less than the hand-over to a thread is worth (about 0.3 ms)."""

T = TypeVar("T")


class _Key(NamedTuple):
    owner: Owner
    model: str


@dataclass
class _Slot:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while the index is read, searched or changed: FAISS allows no writer beside others."""
    index: FlatIndex | None = None
    """None until it is read."""
    charged_bytes: int = 0
    """What is counted against the budget for it."""


class OwnerIndexes:
    """Implements `ports.VectorIndex`.

    Args:
        source: where indexes are read from.
        budget_bytes: what all of them may take; the last one is kept even when it is larger.
    """

    def __init__(self, source: VectorSource, budget_bytes: int) -> None:
        self._source = source
        self._budget = budget_bytes
        self._slots: OrderedDict[_Key, _Slot] = OrderedDict()
        self._total_bytes = 0

    async def search(
        self, owner: Owner, query: Embedding, count: int, among: Sequence[str] | None
    ) -> dict[str, float]:
        """See `ports.VectorIndex.search`."""
        key = _Key(owner, query.model)
        slot = self._slots.setdefault(key, _Slot())
        self._slots.move_to_end(key)
        async with slot.lock:
            index = slot.index
            if index is None:
                index = await self._read(key, slot, len(query.vector))
            _require_dim(index, query)
            with span(metrics.SPAN_FAISS_SEARCH, vectors=len(index), filtered=among is not None):
                return await _run(index, partial(index.search, query.vector, count, among))

    async def add(self, owner: Owner, records: Sequence[Record]) -> None:
        """See `ports.VectorIndex.add`; sensitive vectors stay out of every index."""
        for record in records:
            if record.embedding is not None and not record.memory.sensitive:
                item = (record.memory.id, record.embedding.vector)
                key = _Key(owner, record.embedding.model)
                await self._change(key, methodcaller("add", [item]))

    async def remove(self, owner: Owner, ids: Sequence[str]) -> None:
        """See `ports.VectorIndex.remove`."""
        for key in [key for key in self._slots if key.owner == owner]:
            await self._change(key, methodcaller("remove", ids))

    def drop(self, tenant: Tenant, user: str | None = None) -> None:
        """See `ports.VectorIndex.drop`."""
        for key in list(self._slots):
            if key.owner.tenant == tenant and user in {None, key.owner.user}:
                self._release(key)

    async def _read(self, key: _Key, slot: _Slot, dim: int) -> FlatIndex:
        with span(metrics.SPAN_FAISS_LOAD):
            items = await self._source.vectors(key.owner, key.model)
            index = FlatIndex(len(items[0][1]) if items else dim)
            await run_to_end(partial(index.add, items))
        metrics.index_loads.inc()
        slot.index = index
        self._charge(key, slot)
        return index

    async def _change(self, key: _Key, change: Callable[[FlatIndex], None]) -> None:
        slot = self._slots.get(key)
        if slot is None:
            return
        async with slot.lock:
            # Not read yet: the read will find what the store has by then.
            if (index := slot.index) is not None:
                await _run(index, partial(change, index))
                self._charge(key, slot)

    def _charge(self, key: _Key, slot: _Slot) -> None:
        # One that was dropped meanwhile is finished by whoever uses it and found by nobody else.
        if self._slots.get(key) is not slot or slot.index is None:
            return
        self._total_bytes += slot.index.size_bytes - slot.charged_bytes
        slot.charged_bytes = slot.index.size_bytes
        while self._total_bytes > self._budget and len(self._slots) > 1:
            self._release(next(iter(self._slots)))
            metrics.index_evictions.inc()
        metrics.index_bytes.set(self._total_bytes)

    def _release(self, key: _Key) -> None:
        self._total_bytes -= self._slots.pop(key).charged_bytes
        metrics.index_bytes.set(self._total_bytes)


def _require_dim(index: FlatIndex, query: Embedding) -> None:
    if index.dim != len(query.vector):
        raise Internal(
            f"{query.model!r} gave {len(query.vector)} components; kept vectors have {index.dim}"
        )


async def _run(index: FlatIndex, work: Callable[[], T]) -> T:
    return work() if len(index) < INLINE_VECTORS else await run_to_end(work)
