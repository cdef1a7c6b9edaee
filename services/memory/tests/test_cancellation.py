from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine

import pytest

from clawdbot.memory.adapters.sql_search import SQLMemorySearch
from clawdbot.memory.adapters.threads import to_end
from clawdbot.memory.domain.owner import Owner
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.memory import (
    AppendRequest,
    ConversationLine,
    EraseRequest,
    ForgetRequest,
    Speaker,
)

from .support import Service, call, memory

ATTEMPTS = 80
LONGEST_S = 0.012
"""About what a write takes, so that cancellations hit every part of it."""


async def test_work_ends_although_its_caller_is_cancelled_twice() -> None:
    steps: list[str] = []
    gate = asyncio.Event()

    async def work() -> None:
        steps.append("begun")
        await gate.wait()
        steps.append("ended")

    caller = asyncio.ensure_future(to_end(work()))
    for _ in range(2):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        caller.cancel()
    await asyncio.sleep(0)
    gate.set()

    with pytest.raises(asyncio.CancelledError):
        await caller
    assert steps == ["begun", "ended"]


async def test_what_work_returns_or_raises_reaches_its_caller() -> None:
    async def work(number: int) -> int:
        return 1 // number

    assert await to_end(work(1)) == 1
    with pytest.raises(ZeroDivisionError):
        await to_end(work(0))


def _write(service: Service, number: int, kind: int) -> Coroutine[object, object, object]:
    match kind:
        case 0:
            line = ConversationLine(
                id=f"l{number}", speaker=Speaker.USER, content="hello", said_at_ms=number
            )
            return service.conversations.append(AppendRequest(lines=(line,)), call())
        case 1:
            ids = (f"m{number - 1}", f"m{number - 2}")
            return service.memories.forget(ForgetRequest(ids=ids), call())
        case 2:
            return service.memories.erase(EraseRequest(), call("bob"))
        case 3:
            return service.reembedding.catch_up()
        case _:
            service.embedder.failure = Unavailable("away") if kind == 4 else None
            return service.keep(memory(f"m{number}", f"fact {number}"))


async def _storm(service: Service) -> int:
    chance, cancelled = random.Random(7), 0
    for number in range(ATTEMPTS):
        write = asyncio.ensure_future(_write(service, number, chance.randrange(9)))
        # Not to wait for anything: the moment of the cancellation is what varies.
        await asyncio.wait([write], timeout=chance.random() * LONGEST_S)
        write.cancel()
        await asyncio.wait([write])
        cancelled += write.cancelled()
        service.embedder.failure = None
        # Fails when the database is still locked by what was cancelled.
        await service.keep(memory(f"after{number}", "fact"), by=call("eve", tenant="other"))
    return cancelled


@pytest.mark.slow
async def test_after_a_storm_of_cancellations_writes_go_on_and_the_index_is_right(
    service: Service,
) -> None:
    owner = Owner.of(call().principal)
    question = await service.embedder.query("fact", deadline=Deadline.after(3600))
    await service.keep(memory("first", "fact"))
    await service.found("fact")

    cancelled = await _storm(service)
    await service.keep(memory("last", "fact"))

    source = SQLMemorySearch(service.database, service.keys)
    stored = await source.vectors(owner, service.embedder.model)
    indexed = await service.index.search(owner, question, 10_000, None)
    assert cancelled > ATTEMPTS // 10
    assert set(indexed) == {memory_id for memory_id, _ in stored}
    assert {"first", "last"} <= set(indexed)
