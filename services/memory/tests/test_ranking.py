from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.memory.domain import fusion
from clawdbot.memory.domain.bm25 import Postings, scores
from clawdbot.memory.domain.tokens import tokens

SCORES = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(-1, 30), max_size=8)


def of(query: str, **documents: str) -> dict[str, float]:
    words = {name: tokens(text) for name, text in documents.items()}
    return scores(Postings.of(words, tokens(query)))


def test_a_score_is_what_the_formula_gives() -> None:
    found = of("tea", a="tea tea", b="coffee now here")

    rarity = math.log(1 + (2 - 1 + 0.5) / (1 + 0.5))
    norm = 0.9 * (1 - 0.4 + 0.4 * 2 / 2.5)
    assert found == {"a": pytest.approx(rarity * 2 * 1.9 / (2 + norm))}


def test_a_rare_word_counts_more_than_a_common_one() -> None:
    found = of("common rare", a="common word", b="common thing", c="rare thing", d="common")

    assert max(found, key=found.__getitem__) == "c"


def test_a_pair_of_characters_counts_more_than_its_characters_apart() -> None:
    found = of("咖啡", together="我喜欢咖啡", apart="咖喱好吃吗啡")

    assert found["together"] > 2 * found["apart"]


def test_postings_of_two_halves_are_those_of_the_whole() -> None:
    words = {name: tokens(f"tea {name} milk tea") for name in "abcd"}
    asked = ["tea", "a", "d"]
    halves = [{name: words[name] for name in names} for names in ("ab", "cd")]

    joined = Postings.of(halves[0], asked).joined(Postings.of(halves[1], asked))

    assert scores(joined) == scores(Postings.of(words, asked))


def test_each_half_is_scaled_over_the_union_before_it_is_weighed() -> None:
    found = fusion.fused({"a": 10.0, "b": 5.0}, {"b": 0.9, "c": 0.7}, 0.6, limit=3)

    assert [(each.memory_id, round(each.score, 6)) for each in found] == [
        ("b", 0.8),
        ("a", 0.4),
        ("c", 0.0),
    ]


def test_a_lone_candidate_scores_one_where_it_was_found() -> None:
    (only,) = fusion.fused({}, {"a": 0.2}, 0.6, limit=5)

    assert (only.keyword, only.semantic, only.score) == (0.0, 1.0, 0.6)


def test_equal_scores_are_ordered_by_id() -> None:
    assert list(fusion.top({"b": 1.0, "a": 1.0, "c": 2.0}, 2)) == ["c", "a"]


@given(SCORES, SCORES, st.floats(0, 1), st.integers(1, 10))
def test_fused_scores_fall_and_stay_between_zero_and_one(
    keyword: dict[str, float], semantic: dict[str, float], weight: float, limit: int
) -> None:
    ranked = fusion.fused(keyword, semantic, weight, limit=limit)

    assert len(ranked) == min(limit, len(keyword.keys() | semantic.keys()))
    assert [each.score for each in ranked] == sorted((r.score for r in ranked), reverse=True)
    assert all(
        -1e-9 <= part <= 1 + 1e-9 for r in ranked for part in (r.score, r.keyword, r.semantic)
    )
