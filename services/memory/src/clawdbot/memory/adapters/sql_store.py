"""Memories in SQL: what is written, listed and erased."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, FromClause, and_, delete, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from clawdbot.memory.adapters import forgotten, metrics, rows
from clawdbot.memory.adapters.key_ring import KeyRing
from clawdbot.memory.adapters.sql_database import SQLDatabase, advanced, current
from clawdbot.memory.adapters.tables import conversations, lines, memories, memory_terms
from clawdbot.memory.adapters.tables import forgotten as forgotten_ids
from clawdbot.memory.adapters.threads import to_end
from clawdbot.memory.domain.owner import Owner, Revision
from clawdbot.memory.domain.records import Record
from clawdbot.memory.ports import Erased, Written
from clawdbot.schema.errors import Conflict
from clawdbot.schema.ids import Tenant
from clawdbot.schema.memory import Memory


class SQLMemoryStore:
    """Implements `ports.MemoryStore`."""

    def __init__(self, database: SQLDatabase, keys: KeyRing) -> None:
        self._database = database
        self._keys = keys

    async def unknown(self, owner: Owner, candidates: Sequence[Memory]) -> Sequence[Memory]:
        """See `ports.MemoryStore.unknown`."""
        async with self._database.read("unknown") as connection:
            return await self._unknown(connection, owner, candidates)

    async def keep(self, owner: Owner, records: Sequence[Record]) -> Written:
        """See `ports.MemoryStore.keep`."""
        return await to_end(self._keep(owner, records))

    async def forget(self, owner: Owner, ids: Sequence[str]) -> Written:
        """See `ports.MemoryStore.forget`."""
        return await to_end(self._forget(owner, ids))

    async def erase_user(self, owner: Owner) -> Erased:
        """See `ports.MemoryStore.erase_user`."""
        return await to_end(self._erase_user(owner))

    async def erase_tenant(self, tenant: Tenant) -> Erased:
        """See `ports.MemoryStore.erase_tenant`."""
        return await to_end(self._erase_tenant(tenant))

    async def page(
        self, owner: Owner, limit: int, before_ms: int | None, before_id: str | None
    ) -> Sequence[Memory]:
        """See `ports.MemoryStore.page`."""
        query = select(memories).where(owned(memories, owner))
        if before_ms is not None:
            query = query.where(_before(before_ms, before_id))
        newest = query.order_by(memories.c.created_at.desc(), memories.c.id.desc()).limit(limit)
        async with self._database.read("list") as connection:
            return [rows.memory_in(row) for row in await connection.execute(newest)]

    async def revision(self, tenant: Tenant) -> Revision:
        """See `ports.MemoryStore.revision`."""
        async with self._database.read("revision") as connection:
            return await current(connection, tenant)

    async def _keep(self, owner: Owner, records: Sequence[Record]) -> Written:
        async with self._database.write("remember") as connection:
            by_id = {record.memory.id: record for record in records}
            new = await self._unknown(connection, owner, [record.memory for record in records])
            if not new:
                return Written((), await current(connection, owner.tenant))
            fresh = [by_id[memory.id] for memory in new]
            await self._insert(connection, owner, fresh)
            revision = await advanced(connection, owner.tenant)
        for record in fresh:
            metrics.kept.labels(embedded=str(record.embedding is not None).lower()).inc()
        return Written(tuple(memory.id for memory in new), revision)

    async def _forget(self, owner: Owner, ids: Sequence[str]) -> Written:
        async with self._database.write("forget") as connection:
            chosen = and_(owned(memories, owner), memories.c.id.in_(ids))
            found = (await connection.execute(select(memories.c.id).where(chosen))).scalars().all()
            if not found:
                return Written((), await current(connection, owner.tenant))
            terms = and_(owned(memory_terms, owner), memory_terms.c.memory_id.in_(found))
            await connection.execute(delete(memory_terms).where(terms))
            await connection.execute(delete(memories).where(chosen))
            await forgotten.note(connection, owner, found)
            revision = await advanced(connection, owner.tenant)
        await self._database.scrub()
        return Written(tuple(found), revision)

    async def _erase_user(self, owner: Owner) -> Erased:
        async with self._database.write("erase") as connection:
            await connection.execute(delete(memory_terms).where(owned(memory_terms, owner)))
            await connection.execute(delete(forgotten_ids).where(owned(forgotten_ids, owner)))
            kept = await connection.execute(delete(memories).where(owned(memories, owner)))
            said = await connection.execute(delete(lines).where(owned(lines, owner)))
            await connection.execute(delete(conversations).where(owned(conversations, owner)))
            erased = Erased(kept.rowcount, said.rowcount, await advanced(connection, owner.tenant))
        await self._database.scrub()
        return erased

    async def _erase_tenant(self, tenant: Tenant) -> Erased:
        async with self._database.write("erase") as connection:
            await self._keys.shred(connection, tenant)
            await connection.execute(delete(memory_terms).where(memory_terms.c.tenant == tenant))
            await connection.execute(delete(forgotten_ids).where(forgotten_ids.c.tenant == tenant))
            kept = await connection.execute(delete(memories).where(memories.c.tenant == tenant))
            said = await connection.execute(delete(lines).where(lines.c.tenant == tenant))
            await connection.execute(delete(conversations).where(conversations.c.tenant == tenant))
            erased = Erased(kept.rowcount, said.rowcount, await advanced(connection, tenant))
        await self._database.scrub()
        return erased

    async def _unknown(
        self, connection: AsyncConnection, owner: Owner, candidates: Sequence[Memory]
    ) -> list[Memory]:
        ids = {memory.id for memory in candidates}
        gone = await forgotten.among(connection, owner, ids)
        wanted = memories.c.id.in_(ids)
        query = select(memories.c.id, memories.c.content_hash).where(owned(memories, owner), wanted)
        seen: dict[str, str] = {row.id: row.content_hash for row in await connection.execute(query)}
        key = await self._keys.find(connection, owner.tenant) or self._keys.throwaway()
        new = []
        for memory in candidates:
            if memory.id in gone:
                continue
            digest = rows.content_hash(memory, key if memory.sensitive else None)
            if memory.id not in seen:
                new.append(memory)
            elif seen[memory.id] != digest:
                raise Conflict(f"memory {memory.id!r} is kept with other content", field="id")
            seen[memory.id] = digest
        return new

    async def _insert(
        self, connection: AsyncConnection, owner: Owner, records: Sequence[Record]
    ) -> None:
        is_sealing = any(record.memory.sensitive for record in records)
        key = await self._keys.obtain(connection, owner.tenant) if is_sealing else None
        values = [
            rows.row_of(owner, each, key if each.memory.sensitive else None) for each in records
        ]
        await connection.execute(insert(memories), values)
        if terms := [row for record in records for row in rows.term_rows(owner, record)]:
            await connection.execute(insert(memory_terms), terms)


def owned(table: FromClause, owner: Owner) -> ColumnElement[bool]:
    """Return the condition that every statement on a user's rows carries."""
    return and_(table.c.tenant == owner.tenant, table.c.user_id == owner.user)


def _before(at_ms: int, memory_id: str | None) -> ColumnElement[bool]:
    time = memories.c.created_at
    if memory_id is None:
        return time < at_ms
    # Many memories share a millisecond; a page may end amid them.
    return or_(time < at_ms, and_(time == at_ms, memories.c.id < memory_id))
