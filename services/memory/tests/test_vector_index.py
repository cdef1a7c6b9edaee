from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.memory.adapters.flat_index import FlatIndex
from clawdbot.memory.adapters.inference_embedder import InferenceEmbedder
from clawdbot.memory.adapters.threads import run_to_end
from clawdbot.memory.adapters.vector_index import OwnerIndexes
from clawdbot.memory.domain.owner import Owner
from clawdbot.memory.domain.records import Embedding, Record, Vector
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import Internal
from clawdbot.schema.ids import Tenant
from clawdbot.schema.inference import EmbedReply, EmbedRequest, Role, Tensor
from clawdbot.schema.messages import Usage

from .support import memory

ANN = Owner(Tenant("acme"), "ann")
BOB = Owner(Tenant("acme"), "bob")
CAT = Owner(Tenant("acme"), "cat")
SOON = Deadline.after(3600)


def unit(*values: float) -> Vector:
    vector = np.array(values, dtype=np.float32)
    return vector / np.linalg.norm(vector)


class CountingSource:
    """A `VectorSource` that counts how often each owner was read."""

    def __init__(self, **vectors: dict[str, Vector]) -> None:
        self.vectors_of = vectors
        self.reads: list[str] = []

    async def vectors(self, owner: Owner, model: str) -> Sequence[tuple[str, Vector]]:
        self.reads.append(owner.user)
        return list(self.vectors_of.get(owner.user, {}).items())


async def nearest(index: OwnerIndexes, owner: Owner, *values: float) -> list[str]:
    return list(await index.search(owner, Embedding(unit(*values), "m"), 10, None))


async def test_an_index_is_read_once_and_follows_what_is_written() -> None:
    source = CountingSource(ann={"a": unit(1, 0)})
    index = OwnerIndexes(source, 2**20)
    await nearest(index, ANN, 1, 0)

    await index.add(ANN, [Record(memory("b", "b"), Embedding(unit(0, 1), "m"))])
    await index.remove(ANN, ["a", "unknown"])

    assert await nearest(index, ANN, 1, 0) == ["b"]
    assert source.reads == ["ann"]


async def test_an_owner_without_memories_is_read_once_too() -> None:
    source = CountingSource()
    index = OwnerIndexes(source, 2**20)

    assert await nearest(index, ANN, 1, 0) == []
    assert await nearest(index, ANN, 1, 0) == []
    assert source.reads == ["ann"]


async def test_the_least_recently_used_index_makes_room() -> None:
    source = CountingSource(ann={"a": unit(1, 0)}, bob={"b": unit(1, 0)}, cat={"c": unit(1, 0)})
    one = FlatIndex(2)
    one.add([("a", unit(1, 0))])
    room_for_two = one.size_bytes * 2
    index = OwnerIndexes(source, room_for_two)

    for owner in (ANN, BOB, ANN, CAT, ANN, BOB):
        await nearest(index, owner, 1, 0)

    assert source.reads == ["ann", "bob", "cat", "bob"]


async def test_dropping_a_tenant_makes_its_indexes_be_read_anew() -> None:
    source = CountingSource(ann={"a": unit(1, 0)})
    index = OwnerIndexes(source, 2**20)
    await nearest(index, ANN, 1, 0)
    source.vectors_of = {}

    index.drop(Tenant("other"))
    before = await nearest(index, ANN, 1, 0)
    index.drop(Tenant("acme"))

    assert before == ["a"]
    assert await nearest(index, ANN, 1, 0) == []


async def test_a_vector_of_another_size_is_refused() -> None:
    index = OwnerIndexes(CountingSource(ann={"a": unit(1, 0)}), 2**20)
    await nearest(index, ANN, 1, 0)

    with pytest.raises(Internal):
        await nearest(index, ANN, 1, 0, 0)
    with pytest.raises(Internal):
        await index.add(ANN, [Record(memory("b", "b"), Embedding(unit(1, 0, 0), "m"))])


@given(
    st.lists(st.booleans(), min_size=1, max_size=40),
    st.lists(st.integers(0, 39), max_size=40, unique=True),
    st.integers(1, 12),
)
def test_a_filtered_search_is_exact_after_any_adds_and_removes(
    stays: list[bool], among: list[int], count: int
) -> None:
    drawn = np.random.default_rng(len(stays)).standard_normal((len(stays), 4))
    vectors = {f"m{n}": unit(*row) for n, row in enumerate(drawn)}
    query = unit(1, 2, 3, 4)
    index = FlatIndex(4)
    index.add(vectors.items())
    index.remove([f"m{n}" for n, stay in enumerate(stays) if not stay])

    found = index.search(query, count, [f"m{n}" for n in among])

    left = [f"m{n}" for n in among if n < len(stays) and stays[n]]
    exact = sorted(left, key=lambda each: -float(vectors[each] @ query))
    assert list(found) == exact[:count]
    assert len(index) == sum(stays)


async def test_a_cancelled_caller_waits_for_its_thread() -> None:
    started, release, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        release.wait(10)
        ended.set()

    task = asyncio.ensure_future(run_to_end(work))
    await asyncio.to_thread(started.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    release.set()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


class AnsweringBus:
    """Answers every call with one reply, and remembers what it was asked."""

    def __init__(self, reply: EmbedReply) -> None:
        self.reply = reply
        self.calls: list[tuple[str, EmbedRequest]] = []

    async def call(
        self, rpc: Any, request: Any, *, deadline: Deadline, target: str | None = None
    ) -> Any:
        self.calls.append((rpc.subject(target), request))
        return self.reply


def reply_of(shape: tuple[int, ...], data: bytes, dtype: str = "float32") -> EmbedReply:
    tensor = Tensor(dtype=dtype, shape=shape, data=data)
    return EmbedReply(
        vectors=tensor, model="e5/1", usage=Usage(prompt_tokens=1, completion_tokens=0)
    )


async def test_passages_are_embedded_by_the_model_of_the_settings() -> None:
    rows = np.array([[1, 0], [0, 1]], dtype="<f4")
    bus = AnsweringBus(reply_of((2, 2), rows.tobytes()))

    found = await InferenceEmbedder(bus, "e5").passages(["a", "b"], deadline=SOON)

    assert np.array_equal(found.vectors, rows)
    assert found.model == "e5/1"
    request = EmbedRequest(texts=("a", "b"), role=Role.PASSAGE)
    assert bus.calls == [("claw.rpc.inference.e5.embed", request)]


async def test_a_question_is_embedded_as_one() -> None:
    bus = AnsweringBus(reply_of((1, 2), unit(3, 4).tobytes()))

    found = await InferenceEmbedder(bus, "e5").query("why", deadline=SOON)

    assert np.allclose(found.vector, [0.6, 0.8])
    assert bus.calls[0][1].role is Role.QUERY


@pytest.mark.parametrize(
    "reply",
    [
        reply_of((1, 2), b"1234"),
        reply_of((2, 1), b"12345678"),
        reply_of((1,), b"1234"),
        reply_of((1, 0), b""),
        reply_of((1, 1), b"12345678", "float64"),
        reply_of((1, 1), np.array([np.nan], "<f4").tobytes()),
    ],
)
async def test_a_tensor_that_is_not_one_vector_per_text_is_refused(reply: EmbedReply) -> None:
    with pytest.raises(Internal):
        await InferenceEmbedder(AnsweringBus(reply), "e5").query("why", deadline=SOON)
