from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from clawdbot.memory.adapters.sql_backlog import SQLBacklog
from clawdbot.memory.adapters.sql_store import SQLMemoryStore
from clawdbot.memory.domain.owner import Owner
from clawdbot.memory.domain.records import Record
from clawdbot.memory.handlers.archive import Archive
from clawdbot.memory.ports import Written
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import Conflict, Forbidden, Unauthenticated, Unavailable
from clawdbot.schema.memory import EraseRequest, ForgetRequest, ListRequest, RecallRequest
from clawdbot.schema.principal import Scope
from clawdbot.schema.rpc import Call

from .support import USER_SCOPES, Service, call, memory, opened, remembering

SOON = Deadline.after(3600)


async def test_a_memory_is_kept_once_however_often_it_is_sent(service: Service) -> None:
    first = await service.keep(memory("m1", "I drink tea"))

    again = await service.keep(memory("m1", "I drink tea"))

    assert (first.stored, first.known) == (1, 0)
    assert (again.stored, again.known) == (0, 1)
    assert again.revision == first.revision
    assert service.embedder.embedded == ["I drink tea"]


async def test_the_same_id_with_other_content_is_a_conflict_and_nothing_is_kept(
    service: Service,
) -> None:
    await service.keep(memory("m1", "I drink tea"))

    with pytest.raises(Conflict):
        await service.keep(memory("new", "a"), memory("m1", "I drink coffee"))

    assert await service.found("a") == ["m1"]


async def test_an_id_twice_in_one_request_is_kept_once(service: Service) -> None:
    reply = await service.keep(memory("m1", "tea"), memory("m1", "tea"))

    assert (reply.stored, reply.known) == (1, 1)


async def test_remembering_at_the_same_time_keeps_one(service: Service) -> None:
    replies = await asyncio.gather(*(service.keep(memory("m1", "tea")) for _ in range(8)))

    assert sum(reply.stored for reply in replies) == 1


async def test_the_same_id_of_another_user_or_tenant_is_another_memory(service: Service) -> None:
    await service.keep(memory("m1", "ann drinks tea"))
    await service.keep(memory("m1", "bob drinks rum"), by=call("bob"))
    await service.keep(memory("m1", "eve drinks gin"), by=call("ann", tenant="evil"))

    reply = await service.ask("drinks")

    assert [each.memory.content for each in reply.memories] == ["ann drinks tea"]


async def test_each_write_raises_the_revision_of_its_shard(service: Service) -> None:
    first = await service.keep(memory("m1", "tea"))
    second = await service.keep(memory("m2", "rum"))

    shard, number = first.revision.split(":")
    assert second.revision == f"{shard}:{int(number) + 1}"


async def test_a_recall_may_demand_a_revision(service: Service) -> None:
    kept = await service.keep(memory("m1", "tea"))
    shard, number = kept.revision.split(":")

    assert await service.found("tea", min_revision=kept.revision) == ["m1"]
    with pytest.raises(Unavailable):
        await service.ask("tea", min_revision=f"{shard}:{int(number) + 1}")


async def test_what_was_kept_is_there_after_a_restart(path: Path) -> None:
    kept = memory("m1", "我喜欢咖啡", kind="preference", metadata={"mood": ["好", 1, None]})
    async with opened(path) as before:
        await before.keep(kept)

    async with opened(path) as after:
        reply = await after.ask("咖啡")

    assert [each.memory for each in reply.memories] == [kept]
    assert reply.degraded is None
    assert reply.memories[0].parts.semantic == 1.0


async def test_forgotten_memories_are_found_no_more(service: Service) -> None:
    await service.keep(memory("m1", "tea"), memory("m2", "tea too"))
    await service.found("tea")

    reply = await service.memories.forget(ForgetRequest(ids=("m1", "unknown")), call())

    assert reply.forgotten == 1
    assert await service.found("tea") == ["m2"]


async def test_a_forgotten_memory_does_not_come_back_when_it_is_sent_again(path: Path) -> None:
    kept = memory("m1", "tea")
    async with opened(path) as before:
        await before.keep(kept)
        await before.memories.forget(ForgetRequest(ids=("m1",)), call())

    async with opened(path) as service:
        again = await service.keep(kept, memory("m2", "rum"))
        of_bob = await service.keep(kept, by=call("bob"))

        assert (again.stored, again.known) == (1, 1)
        assert await service.found("tea") == ["m2"]
        assert of_bob.stored == 1


async def test_an_id_is_free_again_days_after_its_memory_was_forgotten(path: Path) -> None:
    async with opened(path) as before:
        await before.keep(memory("m1", "tea"))
        await before.memories.forget(ForgetRequest(ids=("m1",)), call())
        async with before.database.write("test") as connection:
            age = timedelta(days=4, minutes=1) // timedelta(milliseconds=1)
            await connection.exec_driver_sql("UPDATE forgotten SET at = at - ?", (age,))

    async with opened(path) as after:
        reply = await after.keep(memory("m1", "rum"))

    assert reply.stored == 1


@pytest.mark.parametrize("whole_tenant", [False, True])
async def test_erasing_removes_the_ids_of_what_was_forgotten(
    service: Service, whole_tenant: bool
) -> None:
    await service.keep(memory("m1", "tea"))
    await service.memories.forget(ForgetRequest(ids=("m1",)), call())
    admin = call(scopes=USER_SCOPES | {Scope.ADMIN})

    await service.memories.erase(EraseRequest(whole_tenant=whole_tenant), admin)

    async with service.database.read("test") as connection:
        count = await connection.exec_driver_sql("SELECT count(*) FROM forgotten")
        assert count.scalar_one() == 0


async def test_a_forgotten_memory_takes_no_place_among_the_best(service: Service) -> None:
    await service.keep(memory("m1", "tea"), memory("m2", "rum"))
    await service.found("tea")

    await service.memories.forget(ForgetRequest(ids=("m1",)), call())

    assert await service.found("tea", limit=1) == ["m2"]


class StallingStore(SQLMemoryStore):
    """Commits, and then never returns."""

    def __init__(self, service: Service) -> None:
        super().__init__(service.database, service.keys)
        self.committed = asyncio.Event()

    async def keep(self, owner: Owner, records: Sequence[Record]) -> Written:
        await super().keep(owner, records)
        self.committed.set()
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_write_cancelled_after_its_commit_is_found_by_meaning(service: Service) -> None:
    await service.keep(memory("m1", "tea"))
    await service.found("tea")
    store = StallingStore(service)
    archive = Archive(store, SQLBacklog(service.database, service.keys), service.index)
    record = Record(memory("m2", "rum"), await service.embedder.query("rum", deadline=SOON))

    write = asyncio.ensure_future(archive.keep(Owner.of(call().principal), [record]))
    await store.committed.wait()
    write.cancel()
    await asyncio.wait([write])

    assert await service.found("rum", limit=1) == ["m2"]


async def test_nobody_can_forget_what_is_another_users(service: Service) -> None:
    await service.keep(memory("m1", "tea"))

    reply = await service.memories.forget(ForgetRequest(ids=("m1",)), call("bob"))

    assert reply.forgotten == 0
    assert await service.found("tea") == ["m1"]


async def test_the_list_is_newest_first_in_pages(service: Service) -> None:
    await service.keep(*(memory(f"m{at}", f"fact {at}", at) for at in range(1, 6)))

    first = await service.memories.list_newest(ListRequest(limit=2), call())
    second = await service.memories.list_newest(ListRequest(limit=9, before_ms=4), call())

    assert [each.id for each in first.memories] == ["m5", "m4"]
    assert [each.id for each in second.memories] == ["m3", "m2", "m1"]


async def test_pages_lose_no_memory_of_the_millisecond_they_end_in(service: Service) -> None:
    await service.keep(*(memory(f"m{n}", f"fact {n}", at_ms=1 + n // 4) for n in range(8)))

    listed: list[str] = []
    request = ListRequest(limit=3)
    while page := (await service.memories.list_newest(request, call())).memories:
        listed += [each.id for each in page]
        last = page[-1]
        request = ListRequest(limit=3, before_ms=last.created_at_ms, before_id=last.id)

    assert listed == [f"m{n}" for n in reversed(range(8))]


async def test_without_its_scope_a_principal_may_do_nothing(service: Service) -> None:
    nobody = call(scopes=frozenset({Scope.CHAT}))
    user = call()

    for attempt in (
        service.memories.remember(remembering(memory("m1", "tea")), nobody),
        service.memories.forget(ForgetRequest(ids=("m1",)), nobody),
        service.memories.list_newest(ListRequest(), nobody),
        service.memories.erase(EraseRequest(), nobody),
        service.recall.recall(RecallRequest(query="tea"), nobody),
        service.memories.erase(EraseRequest(whole_tenant=True), user),
    ):
        with pytest.raises(Forbidden):
            await attempt


async def test_without_a_principal_nothing_is_answered(service: Service) -> None:
    with pytest.raises(Unauthenticated):
        await service.recall.recall(RecallRequest(query="tea"), Call(call().deadline))
