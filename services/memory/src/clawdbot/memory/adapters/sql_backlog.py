"""Memories that still wait for a vector, in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from clawdbot.memory.adapters import rows
from clawdbot.memory.adapters.encryption import DataKey
from clawdbot.memory.adapters.key_ring import KeyRing
from clawdbot.memory.adapters.sql_database import SQLDatabase
from clawdbot.memory.adapters.sql_store import owned
from clawdbot.memory.adapters.tables import memories
from clawdbot.memory.adapters.threads import to_end
from clawdbot.memory.domain.owner import Owner
from clawdbot.memory.domain.records import Backlogged, Embedding


class SQLBacklog:
    """Implements `ports.Backlog`."""

    def __init__(self, database: SQLDatabase, keys: KeyRing) -> None:
        self._database = database
        self._keys = keys

    async def backlog(self, after: Backlogged | None, limit: int) -> Sequence[Backlogged]:
        """See `ports.Backlog.backlog`."""
        place = (memories.c.tenant, memories.c.user_id, memories.c.id)
        query = select(memories).where(memories.c.embedding_model.is_(None))
        if after is not None:
            query = query.where(_beyond(after))
        async with self._database.read("backlog") as connection:
            found = (await connection.execute(query.order_by(*place).limit(limit))).all()
            return [await self._item(connection, row) for row in found]

    async def fill(self, item: Backlogged, embedding: Embedding) -> bool:
        """See `ports.Backlog.fill`."""
        return await to_end(self._fill(item, embedding))

    async def _fill(self, item: Backlogged, embedding: Embedding) -> bool:
        async with self._database.write("fill") as connection:
            key = await self._key(connection, item.owner, is_needed=item.memory.sensitive)
            columns = rows.embedding_columns(item.owner, item.memory.id, embedding, key)
            change = update(memories).where(_waiting(item, key)).values(columns)
            return (await connection.execute(change)).rowcount == 1

    async def _item(self, connection: AsyncConnection, row: Row[Any]) -> Backlogged:
        owner = Owner(row.tenant, row.user_id)
        key = await self._key(connection, owner, is_needed=row.sensitive)
        return Backlogged(owner, rows.memory_in(row, key))

    async def _key(
        self, connection: AsyncConnection, owner: Owner, *, is_needed: bool
    ) -> DataKey | None:
        return await self._keys.find(connection, owner.tenant) if is_needed else None


def _waiting(item: Backlogged, key: DataKey | None) -> ColumnElement[bool]:
    return and_(
        owned(memories, item.owner),
        memories.c.id == item.memory.id,
        memories.c.embedding_model.is_(None),
        # The id may be of another memory by now: a vector must not land on what it is not of.
        memories.c.sensitive.is_(item.memory.sensitive),
        memories.c.content_hash == rows.content_hash(item.memory, key),
    )


def _beyond(item: Backlogged) -> ColumnElement[bool]:
    # Spelled out: comparing whole rows is slow on MySQL.
    tenant, user, memory_id = memories.c.tenant, memories.c.user_id, memories.c.id
    last = item.owner
    return or_(
        tenant > last.tenant,
        and_(tenant == last.tenant, user > last.user),
        and_(tenant == last.tenant, user == last.user, memory_id > item.memory.id),
    )
