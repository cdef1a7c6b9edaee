"""The tenants' data keys: made on first use, kept wrapped in the database."""

from __future__ import annotations

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from clawdbot.memory.adapters.encryption import DataKey, MasterKey
from clawdbot.memory.adapters.tables import tenant_keys
from clawdbot.runtime.config import ConfigError
from clawdbot.schema.errors import Internal
from clawdbot.schema.ids import Tenant


class KeyRing:
    """Finds data keys within the caller's transaction; nothing is cached that could outlive it."""

    def __init__(self, master: MasterKey) -> None:
        self._master = master

    async def find(self, connection: AsyncConnection, tenant: Tenant) -> DataKey | None:
        """Return the tenant's key; None when nothing sensitive was ever kept.

        Raises:
            Internal: the key was wrapped by another master key.
        """
        query = select(tenant_keys.c.wrapped_key).where(tenant_keys.c.tenant == tenant)
        wrapped = (await connection.execute(query)).scalar_one_or_none()
        return None if wrapped is None else self._master.unwrap(tenant, wrapped)

    async def obtain(self, connection: AsyncConnection, tenant: Tenant) -> DataKey:
        """Return the tenant's key, made now when there is none; needs a writing transaction."""
        if found := await self.find(connection, tenant):
            return found
        made = self._master.new_data_key()
        row = {"tenant": tenant, "wrapped_key": self._master.wrap(tenant, made)}
        await connection.execute(insert(tenant_keys).values(row))
        return made

    def throwaway(self) -> DataKey:
        """Return a key to compare with while the tenant has none; it is kept nowhere."""
        return self._master.new_data_key()

    async def shred(self, connection: AsyncConnection, tenant: Tenant) -> None:
        """Delete the tenant's key: sealed copies of its memories can never be read again."""
        await connection.execute(delete(tenant_keys).where(tenant_keys.c.tenant == tenant))

    async def check(self, connection: AsyncConnection) -> None:
        """Pass when the master key fits the database.

        Raises:
            ConfigError: another master key wrapped what is there.
        """
        row = (await connection.execute(select(tenant_keys).limit(1))).first()
        if row is None:
            return
        try:
            self._master.unwrap(row.tenant, row.wrapped_key)
        except Internal as exc:
            raise ConfigError(
                "the secret 'memory_master_key' is not the one that this database was written "
                "with: restore it, or sensitive memories stay unreadable"
            ) from exc
