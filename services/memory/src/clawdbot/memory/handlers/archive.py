"""Every write of memories: the rows first, then the index that projects them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from clawdbot.memory.domain.owner import Owner
from clawdbot.memory.domain.records import Backlogged, Embedding, Record
from clawdbot.memory.ports import Backlog, Erased, MemoryStore, VectorIndex, Written
from clawdbot.schema.ids import Tenant


class Archive:
    """Keeps rows and index in step.

    One write at a time, so that the index sees changes in the order of the commits; a write that
    does not reach its end, for whatever reason, drops the index, which is then read anew.
    """

    def __init__(self, store: MemoryStore, backlog: Backlog, index: VectorIndex) -> None:
        self._store = store
        self._backlog = backlog
        self._index = index
        self._order = asyncio.Lock()

    async def keep(self, owner: Owner, records: Sequence[Record]) -> Written:
        """Keep new memories, all or none.

        Raises:
            Conflict: an id is taken by other content.
        """
        async with self._write(owner.tenant, owner.user):
            written = await self._store.keep(owner, records)
            await self._index.add(
                owner, [each for each in records if each.memory.id in written.ids]
            )
            return written

    async def forget(self, owner: Owner, ids: Sequence[str]) -> Written:
        """Remove what exists of `ids`."""
        async with self._write(owner.tenant, owner.user):
            written = await self._store.forget(owner, ids)
            await self._index.remove(owner, written.ids)
            return written

    async def fill(self, item: Backlogged, embedding: Embedding) -> bool:
        """Store a vector that came late; False when it is no longer wanted."""
        async with self._write(item.owner.tenant, item.owner.user):
            is_stored = await self._backlog.fill(item, embedding)
            if is_stored:
                await self._index.add(item.owner, [Record(item.memory, embedding)])
            return is_stored

    async def erase_user(self, owner: Owner) -> Erased:
        """Remove everything of a user."""
        async with self._write(owner.tenant, owner.user):
            erased = await self._store.erase_user(owner)
            self._index.drop(owner.tenant, owner.user)
            return erased

    async def erase_tenant(self, tenant: Tenant) -> Erased:
        """Remove everything of a tenant."""
        async with self._write(tenant):
            erased = await self._store.erase_tenant(tenant)
            self._index.drop(tenant)
            return erased

    @asynccontextmanager
    async def _write(self, tenant: Tenant, user: str | None = None) -> AsyncIterator[None]:
        async with self._order:
            is_finished = False
            try:
                yield
                is_finished = True
            finally:
                # Nobody knows what a broken or cancelled write left behind but the database.
                if not is_finished:
                    self._index.drop(tenant, user)
