from __future__ import annotations

import asyncio
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from clawdbot.memory.adapters.sql_database import SQLDatabase
from clawdbot.memory.settings import Settings
from clawdbot.runtime.config import Config, ConfigError
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.memory import EraseRequest, ForgetRequest

from .support import Service, call, memory, opened

OPEN_AND_WAIT = """
import asyncio, sys
from pathlib import Path
from clawdbot.memory.adapters.sql_database import SQLDatabase

async def main():
    async with SQLDatabase.open(Path(sys.argv[1])):
        print("open", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""


async def test_a_second_process_is_refused_until_the_first_is_gone(path: Path) -> None:
    first = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        OPEN_AND_WAIT,
        str(path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert first.stdout is not None
    assert await first.stdout.readline() == b"open\n"

    with pytest.raises(ConfigError, match=rf"process {first.pid}\).*one replica"):
        async with SQLDatabase.open(path):
            pass
    first.kill()
    await first.wait()

    async with SQLDatabase.open(path):
        pass


async def test_the_files_are_readable_by_their_owner_alone(service: Service, path: Path) -> None:
    await service.keep(memory("m1", "tea"))

    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}

    assert set(modes.values()) == {0o600}, modes


async def test_a_newer_schema_is_refused(path: Path) -> None:
    async with opened(path):
        pass
    with sqlite3.connect(path) as other:
        other.execute("INSERT INTO schema_version VALUES (99)")
    other.close()

    with pytest.raises(ConfigError, match="schema version 99"):
        async with SQLDatabase.open(path):
            pass


async def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    notes = b"these are my notes, not a database" * 100
    await asyncio.to_thread(path.write_bytes, notes)

    with pytest.raises(ConfigError, match="cannot be used as a SQLite database"):
        async with SQLDatabase.open(path):
            pass

    assert await asyncio.to_thread(path.read_bytes) == notes


async def test_a_database_that_is_gone_is_told_as_unavailable(service: Service) -> None:
    async with service.database.write("test") as connection:
        await connection.exec_driver_sql("DROP TABLE memories")

    with pytest.raises(Unavailable):
        await service.keep(memory("m1", "tea"))


async def test_a_write_that_fails_leaves_nothing_behind(service: Service) -> None:
    async with service.database.write("test") as connection:
        await connection.exec_driver_sql("DROP TABLE memory_shards")

    with pytest.raises(Unavailable):
        await service.keep(memory("m1", "tea"))

    assert await service.found("tea") == []


async def test_what_was_forgotten_or_erased_is_in_no_file_of_the_database(
    service: Service, path: Path
) -> None:
    await service.keep(memory("m1", "xylophone"), memory("m2", "zeppelin"))
    await service.found("xylophone")

    await service.memories.forget(ForgetRequest(ids=("m1",)), call())
    forgotten = b"".join(each.read_bytes() for each in path.parent.iterdir())
    reply = await service.memories.erase(EraseRequest(), call())
    erased = b"".join(each.read_bytes() for each in path.parent.iterdir())

    assert b"xylophon" not in forgotten
    assert b"zeppelin" in forgotten
    assert b"zeppelin" not in erased
    assert reply.memories == 1
    assert await service.found("zeppelin") == []


async def test_every_commit_is_synced_and_logged_ahead(service: Service) -> None:
    async with service.database.read("test") as connection:
        mode = await connection.exec_driver_sql("PRAGMA journal_mode")
        synchronous = await connection.exec_driver_sql("PRAGMA synchronous")

        assert (mode.scalar_one(), synchronous.scalar_one()) == ("wal", 2)


@pytest.mark.parametrize("storage_type", ["postgresql", "mysql"])
def test_other_databases_are_refused_with_what_to_do(storage_type: str) -> None:
    config = Config.model_validate({"memory": {"storage_type": storage_type}})

    with pytest.raises(ConfigError, match="not available yet in this version; use sqlite"):
        Settings.of(config)


def test_settings_come_from_the_configuration() -> None:
    config = Config.model_validate({"memory": {"db_path": "/tmp/a.db", "index_budget_mb": 2}})

    settings = Settings.of(config)

    assert settings.db_path == Path("/tmp/a.db")
    assert settings.index_budget_bytes == 2 * 1024 * 1024
    assert settings.embedding_model == "multilingual-e5-small"
