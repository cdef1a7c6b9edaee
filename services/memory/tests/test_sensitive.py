from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.memory.adapters.encryption import DataKey, MasterKey
from clawdbot.memory.adapters.rows import WITHHELD
from clawdbot.runtime.config import ConfigError
from clawdbot.schema.errors import Conflict, Internal, Unavailable
from clawdbot.schema.ids import Tenant
from clawdbot.schema.memory import EraseRequest, ListRequest
from clawdbot.schema.principal import Scope

from .support import Service, call, memory, opened

SECRET = memory("s1", "my passphrase is xylophone", sensitive=True, metadata={"where": "zeppelin"})


def on_disk(path: Path) -> bytes:
    return b"".join(each.read_bytes() for each in sorted(path.parent.iterdir()))


async def test_sensitive_memories_are_recalled_only_when_asked_for(service: Service) -> None:
    await service.keep(SECRET, memory("m1", "my bicycle is green"))

    without = await service.found("passphrase")
    reply = await service.ask("passphrase", include_sensitive=True)

    assert without == ["m1"]
    assert reply.memories[0].memory == SECRET
    assert reply.memories[0].parts.keyword == 1.0


async def test_nothing_of_a_sensitive_memory_is_readable_in_the_files(
    service: Service, path: Path
) -> None:
    await service.keep(SECRET, memory("m1", "my bicycle is green"))
    await service.ask("passphrase", include_sensitive=True)

    stored = on_disk(path)

    assert b"bicycle" in stored
    vector = service.embedder.vector(SECRET.content).tobytes()
    for canary in (b"xylophon", b"passphras", b"zeppelin", vector):
        assert canary not in stored


async def test_remembering_a_sensitive_memory_again_changes_nothing(service: Service) -> None:
    await service.keep(SECRET)

    again = await service.keep(SECRET)

    assert (again.stored, again.known) == (0, 1)


async def test_what_was_kept_openly_does_not_pass_for_sensitive(service: Service) -> None:
    await service.keep(SECRET.model_copy(update={"sensitive": False}))

    with pytest.raises(Conflict):
        await service.keep(SECRET)


async def test_one_request_cannot_make_a_sensitive_memory_an_open_one(service: Service) -> None:
    with pytest.raises(Conflict):
        await service.keep(SECRET, SECRET.model_copy(update={"sensitive": False}))


async def test_a_sensitive_memory_without_a_vector_gets_a_sealed_one(
    service: Service, path: Path
) -> None:
    service.embedder.failure = Unavailable("away")
    await service.keep(SECRET)
    service.embedder.failure = None

    await service.reembedding.catch_up()

    reply = await service.ask("something else", include_sensitive=True)
    assert reply.memories[0].parts.semantic == 1.0
    assert service.embedder.vector(SECRET.content).tobytes() not in on_disk(path)


async def test_the_list_names_a_sensitive_memory_without_its_content(service: Service) -> None:
    await service.keep(SECRET)

    (listed,) = (await service.memories.list_newest(ListRequest(), call())).memories

    assert (listed.id, listed.sensitive) == ("s1", True)
    assert (listed.content, listed.metadata) == (WITHHELD, {})


async def test_a_sealed_value_moved_to_another_row_does_not_open(
    service: Service, path: Path
) -> None:
    await service.keep(SECRET)
    await service.keep(memory("s1", "other", sensitive=True), by=call("bob"))

    with sqlite3.connect(path) as other:
        other.execute(
            "UPDATE memories SET sealed_content ="
            " (SELECT sealed_content FROM memories WHERE user_id = 'ann') WHERE user_id = 'bob'"
        )
    other.close()

    with pytest.raises(Internal):
        await service.ask("passphrase", call("bob"), include_sensitive=True)


async def test_erasing_a_tenant_shreds_its_key_and_leaves_others_alone(service: Service) -> None:
    await service.keep(SECRET)
    await service.keep(SECRET, by=call(tenant="other"))
    admin = call(scopes=frozenset({Scope.ADMIN}))

    await service.memories.erase(EraseRequest(whole_tenant=True), admin)

    async with service.database.read("test") as connection:
        assert await service.keys.find(connection, Tenant("acme")) is None
        assert await service.keys.find(connection, Tenant("other")) is not None
    assert await service.found("passphrase", include_sensitive=True) == []
    assert await service.found("passphrase", call(tenant="other"), include_sensitive=True) == ["s1"]


async def test_another_master_key_is_noticed(path: Path) -> None:
    async with opened(path) as service:
        await service.keep(SECRET)

    async with opened(path, master=b"7a" * 32) as other, other.database.read("check") as connection:
        with pytest.raises(ConfigError, match="memory_master_key"):
            await other.keys.check(connection)


def test_the_master_key_is_the_same_as_hex_and_as_base64() -> None:
    sealed = MasterKey(b"6b" * 32).wrap(Tenant("t"), DataKey(b"d" * 32))

    for secret in (b"6B" * 32, b"a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="):
        assert MasterKey(secret).unwrap(Tenant("t"), sealed).secret == b"d" * 32


# 32 bytes as they are may be half of a key in hex, or a pass phrase.
@pytest.mark.parametrize("secret", [b"", b"short", b"6b" * 16, b"k" * 32, b"k" * 33, b"6" * 63])
def test_a_master_key_of_another_size_is_refused(secret: bytes) -> None:
    with pytest.raises(ConfigError, match="openssl rand -hex 32"):
        MasterKey(secret)


@given(st.binary(), st.lists(st.text(max_size=8), max_size=4), st.integers(0), st.integers(1, 255))
def test_a_sealed_value_opens_unchanged_and_only_unchanged(
    plain: bytes, place: list[str], where: int, flip: int
) -> None:
    key = DataKey(b"d" * 32)
    sealed = key.seal(plain, *place)
    damaged = bytearray(sealed)
    damaged[where % len(sealed)] ^= flip

    assert key.open(sealed, *place) == plain
    with pytest.raises(Internal):
        key.open(bytes(damaged), *place)
    with pytest.raises(Internal):
        key.open(sealed, *place, "elsewhere")
    with pytest.raises(Internal):
        key.open(sealed[:5], *place)
