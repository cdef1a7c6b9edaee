from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from secrets import token_hex

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clawdbot.memory.domain.bm25 import Postings, scores
from clawdbot.memory.domain.fusion import fused, top
from clawdbot.memory.domain.tokens import tokens
from clawdbot.memory.handlers.recall import Ranking
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.memory import Memory

from .support import Service, call, memory, opened

CANDIDATES = 4
"""Few, so that random data reaches the cut."""

words = st.sampled_from(
    ["tea", "coffee", "北京", "咖啡", "runs", "running", "cat", "dog", "茶", "😀"]
)
texts = st.lists(words, min_size=1, max_size=5).map(" ".join)
owners = st.tuples(st.sampled_from(["acme", "evil"]), st.sampled_from(["ann", "bob"]))
times = st.none() | st.integers(0, 12)


@st.composite
def archives(draw: st.DrawFn) -> dict[tuple[str, str], list[Memory]]:
    kept: dict[tuple[str, str], list[Memory]] = {}
    for number in range(draw(st.integers(1, 25))):
        owner = draw(owners)
        # A number of its own keeps similarities from being equal.
        content = f"{draw(texts)} n{number}"
        # Ids repeat across owners on purpose.
        memory_id = f"m{len(kept.get(owner, []))}"
        sensitive = draw(st.integers(0, 4)) == 0
        item = memory(memory_id, content, draw(st.integers(0, 12)), sensitive=sensitive)
        kept.setdefault(owner, []).append(item)
    return kept


def brute_force(service: Service, kept: list[Memory], query: str) -> list[str]:
    documents = {each.id: tokens(each.content) for each in kept}
    asked = service.embedder.vector(query)
    similar = {each.id: float(service.embedder.vector(each.content) @ asked) for each in kept}
    keyword = top(scores(Postings.of(documents, tokens(query))), CANDIDATES)
    ranked = fused(keyword, top(similar, CANDIDATES), 0.6, limit=6)
    return [each.memory_id for each in ranked]


@pytest.fixture
async def choosy(path: Path) -> AsyncIterator[Service]:
    async with opened(path, ranking=Ranking(0.6, CANDIDATES)) as running:
        yield running


# One database for all examples: what earlier ones left in other tenants must never show.
@pytest.mark.slow
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(kept=archives(), who=owners, since=times, until=times, query=texts, sealed=st.booleans())
async def test_recall_equals_brute_force_over_the_owners_memories_of_that_time(
    choosy: Service,
    kept: dict[tuple[str, str], list[Memory]],
    who: tuple[str, str],
    since: int | None,
    until: int | None,
    query: str,
    sealed: bool,
) -> None:
    example = token_hex(4)
    for (tenant, user), items in kept.items():
        await choosy.keep(*items, by=call(user, f"{tenant}{example}"))

    reply = await choosy.ask(
        query,
        call(who[1], f"{who[0]}{example}"),
        since_ms=since,
        until_ms=until,
        include_sensitive=sealed,
        limit=6,
    )

    eligible = [
        each
        for each in kept.get(who, [])
        if (since is None or each.created_at_ms >= since)
        and (until is None or each.created_at_ms < until)
        and (sealed or not each.sensitive)
    ]
    assert all(each.memory in eligible for each in reply.memories)
    assert [each.memory.id for each in reply.memories] == brute_force(choosy, eligible, query)


async def test_the_time_range_is_applied_before_the_best_are_chosen(service: Service) -> None:
    recent = [memory(f"new{n}", f"tea tea tea {n}", at_ms=2_000) for n in range(250)]
    await service.keep(*recent)
    await service.keep(memory("old", "something else", at_ms=1_000))

    assert await service.found("tea", until_ms=2_000) == ["old"]


async def test_two_character_chinese_words_are_found_by_keyword_alone(service: Service) -> None:
    service.embedder.failure = Unavailable("inference is away")
    await service.keep(memory("zh", "我每天早上喝一杯咖啡"), memory("other", "北京今天很冷"))

    reply = await service.ask("咖啡")

    assert [each.memory.id for each in reply.memories] == ["zh"]
    assert reply.degraded == "by keyword alone: inference is away"
    assert reply.memories[0].score == reply.memories[0].parts.keyword == 1.0


async def test_a_question_without_words_is_answered_by_meaning(service: Service) -> None:
    await service.keep(memory("m1", "😀"), memory("m2", "tea"))

    assert (await service.found("😀"))[0] == "m1"


async def test_an_empty_question_finds_nothing_and_asks_nobody(service: Service) -> None:
    await service.keep(memory("m1", "tea"))

    assert await service.found("  ") == []
    assert service.embedder.asked == []


async def test_vectors_of_another_model_are_not_compared(service: Service) -> None:
    await service.keep(memory("m1", "tea"))
    service.embedder.model = "recording-2"
    await service.keep(memory("m2", "rum"))

    reply = await service.ask("beverage")

    assert [each.memory.id for each in reply.memories] == ["m2"]


async def test_vectors_of_another_size_leave_recall_to_the_keywords(service: Service) -> None:
    await service.keep(memory("m1", "tea"))
    service.embedder.dim = 8

    reply = await service.ask("tea")

    assert [each.memory.id for each in reply.memories] == ["m1"]
    assert reply.degraded is not None


@pytest.mark.parametrize("budget_bytes", [0, 2**30])
async def test_recall_does_not_depend_on_which_indexes_are_held(
    path: Path, budget_bytes: int
) -> None:
    async with opened(path, budget_bytes=budget_bytes) as service:
        for user in ("ann", "bob"):
            await service.keep(memory("m1", f"tea of {user}"), by=call(user))

        asked = [await service.ask("tea", call(user)) for user in ("ann", "bob", "ann")]

    assert [reply.memories[0].memory.content for reply in asked] == [
        "tea of ann",
        "tea of bob",
        "tea of ann",
    ]
    assert all(np.isclose(reply.memories[0].score, 1.0) for reply in asked)
