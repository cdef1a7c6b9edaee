from __future__ import annotations

import pytest

from clawdbot.memory.adapters.sql_backlog import SQLBacklog
from clawdbot.memory.domain.records import Embedding
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import (
    ClawdbotError,
    Conflict,
    DeadlineExceeded,
    Internal,
    Overloaded,
    Unavailable,
)
from clawdbot.schema.memory import EraseRequest, Memory

from .support import Service, call, memory

SOON = Deadline.after(3600)


async def test_a_memory_is_kept_while_inference_is_away_and_gets_its_vector_later(
    service: Service,
) -> None:
    service.embedder.failure = Overloaded("busy")
    await service.keep(memory("m1", "tea"), memory("m2", "rum"))
    without = await service.ask("beverage")
    service.embedder.failure = None

    filled = await service.reembedding.catch_up()

    assert without.degraded is not None
    assert filled == 2
    assert set(await service.found("beverage")) == {"m1", "m2"}
    assert await service.reembedding.catch_up() == 0


async def test_late_vectors_reach_an_index_that_is_loaded_already(service: Service) -> None:
    await service.keep(memory("m1", "tea"))
    await service.found("warm up")
    service.embedder.failure = Unavailable("away")
    await service.keep(memory("m2", "rum"))
    service.embedder.failure = None

    await service.reembedding.catch_up()

    assert (await service.found("rum", limit=1)) == ["m2"]


@pytest.mark.parametrize(
    "failure", [Conflict("not this"), Internal("bug"), DeadlineExceeded("too slow")]
)
async def test_one_text_that_inference_cannot_embed_keeps_no_other_waiting(
    service: Service, failure: ClawdbotError
) -> None:
    service.embedder.failure = Unavailable("away")
    await service.keep(*(memory(f"m{n:02}", f"fact {n}") for n in range(40)))
    service.embedder.failure = None
    service.embedder.refused["fact 2"] = failure

    filled = await service.reembedding.catch_up()

    assert filled == 39


@pytest.mark.parametrize("failure", [Unavailable("away"), Overloaded("busy")])
async def test_a_pass_ends_while_inference_is_away(
    service: Service, failure: ClawdbotError
) -> None:
    service.embedder.failure = failure
    await service.keep(*(memory(f"m{n}", f"fact {n}") for n in range(5)))

    with pytest.raises(type(failure)):
        await service.reembedding.catch_up()


@pytest.mark.parametrize("another", [memory("m1", "rum"), memory("m1", "tea", sensitive=True)])
async def test_a_late_vector_never_lands_on_another_memory_of_that_id(
    service: Service, another: Memory
) -> None:
    backlog = SQLBacklog(service.database, service.keys)
    service.embedder.failure = Unavailable("away")
    await service.keep(memory("m1", "tea"))
    (item,) = await backlog.backlog(None, 10)
    await service.memories.erase(EraseRequest(), call())
    await service.keep(another)

    is_stored = await backlog.fill(item, Embedding(service.embedder.vector("tea"), "recording-1"))

    assert not is_stored
    assert [each.memory for each in await backlog.backlog(None, 10)] == [another]
