"""One SQLite file: connections, transactions, and the tables in the version we know."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import URL, Connection, event, func, insert, select, update
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from clawdbot.memory.adapters import forgotten
from clawdbot.memory.adapters.file_lock import sole_user_of
from clawdbot.memory.adapters.metrics import SPAN_SQL
from clawdbot.memory.adapters.tables import (
    SCHEMA_VERSION,
    memory_shards,
    metadata,
    schema_version,
)
from clawdbot.memory.domain.owner import Revision, shard_of
from clawdbot.runtime.config import ConfigError
from clawdbot.runtime.telemetry import span
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.ids import Tenant
from clawdbot.schema.subjects import MEMORY_SHARDS

BUSY_TIMEOUT_MS: Final = 5_000
"""How long SQLite waits for a lock of a backup or a shell before it gives up."""
BEGIN: Final = "clawdbot_begin"
"""Execution option: the statement that opens a transaction."""

_PRAGMAS = (
    f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}",
    "PRAGMA journal_mode = WAL",
    # Every commit reaches the disk: what was accepted is kept, through a power cut too.
    "PRAGMA synchronous = FULL",
    # Freed pages are overwritten: what was erased must not be readable in the file.
    "PRAGMA secure_delete = ON",
)


class SQLDatabase:
    """Transactions on the database; made by `open`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(**{BEGIN: "BEGIN IMMEDIATE"})
        # A checkpoint cannot run within a transaction.
        self._bare = engine.execution_options(**{BEGIN: None})
        # SQLite has one writer; waiting here is fair and never runs into the busy time-out.
        self._write_lock = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path) -> AsyncIterator[SQLDatabase]:
        """Open the file at `path`, made with all tables when it does not exist.

        Raises:
            ConfigError: another process uses it, it is no database, or of a newer version.
        """
        with sole_user_of(path):
            _make_private(path)
            engine = create_async_engine(URL.create("sqlite+aiosqlite", database=str(path)))
            event.listen(engine.sync_engine, "connect", _prepare)
            event.listen(engine.sync_engine, "begin", _begin)
            try:
                database = cls(engine)
                await database._make_ready(path)
                yield database
            finally:
                await engine.dispose()

    @asynccontextmanager
    async def read(self, verb: str) -> AsyncIterator[AsyncConnection]:
        """Give a consistent view of the database; `verb` names the span.

        Raises:
            Unavailable: the database cannot be read now.
        """
        with span(f"{SPAN_SQL}{verb}", db__system__name="sqlite"):
            async with _translated(), self._engine.begin() as connection:
                yield connection

    @asynccontextmanager
    async def write(self, verb: str) -> AsyncIterator[AsyncConnection]:
        """Give the one writing transaction; committed at the end, rolled back on an error.

        Who may be cancelled enters it within `threads.to_end` alone.

        Raises:
            Unavailable: the database cannot be written now.
        """
        with span(f"{SPAN_SQL}{verb}", db__system__name="sqlite"):
            async with self._write_lock, _translated(), self._writer.begin() as connection:
                yield connection

    async def scrub(self) -> None:
        """Move the write-ahead log into the file, so that it keeps no copy of what was removed.

        Readers that are at work keep the log until the next time.
        """
        async with self._write_lock, _translated(), self._bare.connect() as connection:
            await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    async def _make_ready(self, path: Path) -> None:
        try:
            async with self._writer.begin() as connection:
                await connection.run_sync(_make_tables, path)
        except DBAPIError as exc:
            raise ConfigError(f"{path} cannot be used as a SQLite database: {exc.orig}") from exc


async def advanced(connection: AsyncConnection, tenant: Tenant) -> Revision:
    """Count one more write to the tenant's shard, in the transaction of that write."""
    shard = memory_shards.c.shard == shard_of(tenant)
    # Updating first takes the row's lock: commits of one shard are ordered on every database.
    await connection.execute(
        update(memory_shards).where(shard).values(revision=memory_shards.c.revision + 1)
    )
    return await current(connection, tenant)


async def current(connection: AsyncConnection, tenant: Tenant) -> Revision:
    """Return how many writes the tenant's shard has seen."""
    shard = shard_of(tenant)
    query = select(memory_shards.c.revision).where(memory_shards.c.shard == shard)
    return Revision(shard, (await connection.execute(query)).scalar_one())


def _make_private(path: Path) -> None:
    # The file holds what people said: readable by its owner alone.
    path.touch(mode=0o600)


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except (DBAPIError, PoolTimeout) as exc:
        raise Unavailable("the memory database does not answer") from exc


def _prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # The driver must not begin transactions by itself: it would begin them without IMMEDIATE.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _begin(connection: Connection) -> None:
    if statement := connection.get_execution_options().get(BEGIN, "BEGIN"):
        connection.exec_driver_sql(statement)


def _make_tables(connection: Connection, path: Path) -> None:
    # Adds a table that an older program did not know, which it does not mind.
    metadata.create_all(connection)
    version = connection.scalar(select(func.max(schema_version.c.version)))
    if version is None:
        connection.execute(insert(schema_version).values(version=SCHEMA_VERSION))
        shards = [{"shard": shard, "revision": 0} for shard in range(MEMORY_SHARDS)]
        connection.execute(insert(memory_shards), shards)
    elif version > SCHEMA_VERSION:
        raise ConfigError(
            f"{path} has schema version {version}, this program knows {SCHEMA_VERSION}: "
            "start the newer program, or restore a backup made before it"
        )
    forgotten.sweep(connection)
