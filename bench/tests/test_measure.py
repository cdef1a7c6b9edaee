from __future__ import annotations

from dataclasses import replace
from itertools import count
from random import Random
from statistics import median

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bench.measure import (
    MAX_VARIATION,
    Comparison,
    Effort,
    Target,
    Verdict,
    interleaved,
    percentile,
)

figures = st.floats(min_value=1e-6, max_value=1e6)
rounds = st.lists(st.tuples(figures, figures), min_size=1, max_size=9)


def compared(pairs: list[tuple[float, float]], target: Target | None = None) -> Comparison:
    ours, bare = zip(*pairs, strict=True)
    return Comparison("example", "ms", ours, bare, target)


@given(rounds)
def test_ratio_lies_within_its_spread(pairs: list[tuple[float, float]]) -> None:
    comparison = compared(pairs)

    low, high = comparison.spread

    assert low * (1 - 1e-9) <= comparison.ratio <= high * (1 + 1e-9)


@given(rounds, st.floats(min_value=1e-3, max_value=1e3))
def test_the_unit_changes_neither_ratio_nor_variation(
    pairs: list[tuple[float, float]], scale: float
) -> None:
    comparison = compared(pairs)

    scaled = compared([(ours * scale, bare * scale) for ours, bare in pairs])

    assert scaled.ratio == pytest.approx(comparison.ratio)
    assert scaled.variation == pytest.approx(comparison.variation, rel=1e-9, abs=1e-9)


@given(rounds)
def test_swapping_the_sides_inverts_the_ratio(pairs: list[tuple[float, float]]) -> None:
    swapped = compared([(bare, ours) for ours, bare in pairs])

    assert swapped.ratio == pytest.approx(1 / compared(pairs).ratio)


@given(rounds, st.randoms(use_true_random=False))
def test_the_order_of_rounds_does_not_matter(
    pairs: list[tuple[float, float]], random: Random
) -> None:
    shuffled = random.sample(pairs, len(pairs))

    first, second = compared(pairs), compared(shuffled)

    assert (first.ratio, first.spread, first.variation) == (
        second.ratio,
        second.spread,
        second.variation,
    )


@given(rounds, st.sampled_from([None, Target(0.8), Target(1.25, is_floor=False)]))
def test_a_baseline_that_varies_too_much_is_never_judged(
    pairs: list[tuple[float, float]], target: Target | None
) -> None:
    comparison = compared(pairs, target)
    assume(comparison.variation > MAX_VARIATION)

    verdict = comparison.verdict

    assert verdict is Verdict.NOISY


@given(figures, st.lists(figures, min_size=1, max_size=9), st.floats(0.1, 10))
def test_a_steady_baseline_is_judged_by_the_target(
    bare: float, ours: list[float], bound: float
) -> None:
    comparison = compared([(value, bare) for value in ours])

    floor = replace(comparison, target=Target(bound)).verdict
    ceiling = replace(comparison, target=Target(bound, is_floor=False)).verdict

    assert comparison.verdict is Verdict.SHOWN
    assert comparison.variation == 0
    assert (floor is Verdict.OK) == (median(ours) / bare >= bound)
    assert (ceiling is Verdict.OK) == (median(ours) / bare <= bound)


@given(st.lists(figures, min_size=1, max_size=200), st.floats(0.01, 1))
def test_percentile_is_the_smallest_value_that_covers_the_share(
    values: list[float], share: float
) -> None:
    found = percentile(values, share)

    covered = sum(value <= found for value in values) / len(values)
    below = sum(value < found for value in values) / len(values)
    assert found in values
    assert covered >= share - 1e-9
    assert below < share


@pytest.mark.parametrize(("ours", "bare"), [([], []), ([1.0], [1.0, 2.0]), ([1.0], [0.0])])
def test_figures_that_cannot_be_compared_are_refused(ours: list[float], bare: list[float]) -> None:
    with pytest.raises(ValueError, match="example"):
        Comparison("example", "ms", ours, bare)


def test_a_quick_effort_still_measures_something() -> None:
    assert Effort(rounds=1, share=0.001).count(100) == 1
    assert Effort().count(100) == 100


async def test_measures_take_turns_and_the_first_round_is_forgotten() -> None:
    clock = count()

    async def tick() -> int:
        return next(clock)

    results = await interleaved(3, tick, tick)

    assert results == [[2, 4, 6], [3, 5, 7]]
