"""Reads for recall; the owner and the time range are conditions of every statement."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, func, select, true

from clawdbot.memory.adapters import rows
from clawdbot.memory.adapters.key_ring import KeyRing
from clawdbot.memory.adapters.sql_database import SQLDatabase
from clawdbot.memory.adapters.sql_store import owned
from clawdbot.memory.adapters.tables import memories, memory_terms
from clawdbot.memory.domain.bm25 import Postings
from clawdbot.memory.domain.owner import Owner, TimeRange
from clawdbot.memory.domain.records import Record, Vector
from clawdbot.schema.memory import Memory


class SQLMemorySearch:
    """Implements `ports.MemorySearch` and `ports.VectorSource`."""

    def __init__(self, database: SQLDatabase, keys: KeyRing) -> None:
        self._database = database
        self._keys = keys

    async def postings(self, owner: Owner, terms: Sequence[str], times: TimeRange) -> Postings:
        """See `ports.MemorySearch.postings`."""
        eligible = _eligible(owner, times)
        size = select(func.count(), func.sum(memories.c.term_count)).where(eligible)
        same = and_(
            memory_terms.c.tenant == memories.c.tenant,
            memory_terms.c.user_id == memories.c.user_id,
            memory_terms.c.memory_id == memories.c.id,
        )
        hits = (
            select(memory_terms.c.term, memories.c.id, memory_terms.c.tf, memories.c.term_count)
            .select_from(memory_terms.join(memories, same))
            .where(owned(memory_terms, owner), memory_terms.c.term.in_(terms), eligible)
        )
        frequencies: dict[str, dict[str, int]] = {}
        lengths: dict[str, int] = {}
        async with self._database.read("recall") as connection:
            count, total_length = (await connection.execute(size)).one()
            for term, memory_id, frequency, length in await connection.execute(hits):
                frequencies.setdefault(term, {})[memory_id] = frequency
                lengths[memory_id] = length
        return Postings(count, total_length or 0, lengths, frequencies)

    async def ids(self, owner: Owner, times: TimeRange) -> Sequence[str]:
        """See `ports.MemorySearch.ids`."""
        query = select(memories.c.id).where(_eligible(owner, times))
        async with self._database.read("eligible") as connection:
            return (await connection.execute(query)).scalars().all()

    async def fetch(self, owner: Owner, ids: Sequence[str], times: TimeRange) -> dict[str, Memory]:
        """See `ports.MemorySearch.fetch`."""
        query = select(memories).where(_eligible(owner, times), memories.c.id.in_(ids))
        async with self._database.read("fetch") as connection:
            return {row.id: rows.memory_in(row) for row in await connection.execute(query)}

    async def sensitive(self, owner: Owner, times: TimeRange) -> Sequence[Record]:
        """See `ports.MemorySearch.sensitive`."""
        query = select(memories).where(
            owned(memories, owner), _within(times), memories.c.sensitive.is_(True)
        )
        async with self._database.read("sensitive") as connection:
            found = (await connection.execute(query)).all()
            key = await self._keys.find(connection, owner.tenant) if found else None
        if key is None:
            return []
        # Decryption and JSON of many rows would hold up everybody else's requests.
        return await asyncio.to_thread(lambda: [rows.record_in(row, key) for row in found])

    async def vectors(self, owner: Owner, model: str) -> Sequence[tuple[str, Vector]]:
        """See `ports.VectorSource.vectors`; sensitive ones are never part of an index."""
        query = select(memories.c.id, memories.c.embedding).where(
            _eligible(owner, TimeRange()), memories.c.embedding_model == model
        )
        async with self._database.read("vectors") as connection:
            found = (await connection.execute(query)).all()
        return [(memory_id, rows.vector_in(blob)) for memory_id, blob in found]


def _eligible(owner: Owner, times: TimeRange) -> ColumnElement[bool]:
    return and_(owned(memories, owner), _within(times), memories.c.sensitive.is_(False))


def _within(times: TimeRange) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = []
    if times.since_ms is not None:
        conditions.append(memories.c.created_at >= times.since_ms)
    if times.until_ms is not None:
        conditions.append(memories.c.created_at < times.until_ms)
    return and_(true(), *conditions)
