from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.domain.buckets import TELL_SHARE, Buckets, Limit

limits = st.builds(Limit, per_s=st.floats(0.1, 100, allow_nan=False), burst=st.integers(1, 40))
pauses = st.lists(st.floats(0, 2, allow_nan=False), max_size=60)
LIMIT = Limit(per_s=2.0, burst=4)
TICK_S = 1.0


def passed(buckets: Buckets, key: str, now: float) -> bool:
    if buckets.wait_s(key, now) > 0:
        return False
    buckets.add(key, now)
    return True


def excess(limit: Limit, times: list[float]) -> float:
    """Return by how much the fullest of all windows exceeds what one replica lets pass."""
    worst = 0.0
    for begin, began in enumerate(times):
        for end in range(begin, len(times)):
            allowed = limit.burst + limit.per_s * (times[end] - began)
            worst = max(worst, end - begin + 1 - allowed)
    return worst


@given(limits, pauses)
def test_no_window_has_more_than_burst_and_rate(limit: Limit, waits: list[float]) -> None:
    buckets = Buckets(limit, 10)

    times = [now for now in accumulate(waits) if passed(buckets, "k", now)]

    assert excess(limit, times) <= 1e-6


@given(
    limits, st.integers(2, 4), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3)), max_size=80)
)
def test_replicas_together_exceed_it_by_no_more_than_documented(
    limit: Limit, replicas: int, arrivals: list[tuple[float, int]]
) -> None:
    held = [Buckets(limit, 10) for _ in range(replicas)]
    times: list[float] = []
    now, next_tick = 0.0, TICK_S
    for wait_s, number in arrivals:
        now += wait_s
        while next_tick <= now:
            exchange(held, next_tick)
            next_tick += TICK_S
        if passed(held[number % replicas], "k", now):
            times.append(now)

    untold = limit.burst // TELL_SHARE
    bound = (replicas - 1) * (limit.burst + untold + limit.per_s * TICK_S)
    assert excess(limit, times) <= bound + 1e-6


def exchange(held: list[Buckets], now: float) -> None:
    told = [buckets.tell(100) for buckets in held]
    for teller, counts in enumerate(told):
        for hearer, buckets in enumerate(held):
            for key, count in counts if hearer != teller else ():
                buckets.learn(key, count, now)


def test_in_the_long_run_two_replicas_let_pass_as_much_as_one() -> None:
    held = [Buckets(LIMIT, 10), Buckets(LIMIT, 10)]
    count = 0
    for step in range(10_000):
        now = step / 10
        if step % 10 == 0:
            exchange(held, now)
        count += sum(passed(buckets, "k", now) for buckets in held)

    assert count <= LIMIT.per_s * 1000 + 2 * LIMIT.burst + LIMIT.per_s


@given(limits, pauses)
def test_the_wait_that_is_told_is_enough(limit: Limit, waits: list[float]) -> None:
    buckets = Buckets(limit, 10)
    for now in accumulate(waits):
        if (wait_s := buckets.wait_s("k", now)) > 0:
            assert buckets.wait_s("k", now + wait_s + 1e-6) == 0
        else:
            buckets.add("k", now)


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 1))), st.booleans())
def test_the_table_never_grows_beyond_its_places(
    arrivals: list[tuple[int, float]], forgets: bool
) -> None:
    buckets = Buckets(LIMIT, 5, forgets=forgets)
    now = 0.0
    for key, wait_s in arrivals:
        now += wait_s
        buckets.add(str(key), now)
        buckets.learn(str(key + 1), 3, now)

        assert len(buckets) <= 5


def test_a_key_that_cannot_be_forgotten_keeps_new_ones_waiting_until_one_is_empty() -> None:
    buckets = Buckets(LIMIT, 2, forgets=False)
    for key in ("a", "a", "b"):
        buckets.add(key, 0.0)

    assert buckets.wait_s("c", 0.0) == 1.0
    buckets.add("c", 0.0)
    assert [buckets.wait_s(key, 0.0) for key in "abc"] == [0.0, 0.0, 1.0]
    assert passed(buckets, "c", 1.0)
    assert len(buckets) == 2


def test_a_table_that_forgets_gives_a_forgotten_key_one_burst_and_no_more() -> None:
    buckets = Buckets(LIMIT, 2)
    for _ in range(LIMIT.burst):
        buckets.add("a", 0.0)
    assert buckets.wait_s("a", 0.0) > 0

    buckets.add("b", 0.0)
    buckets.add("c", 0.0)

    assert sum(passed(buckets, "a", 0.0) for _ in range(10)) == LIMIT.burst


def test_what_was_given_back_is_as_if_it_had_never_come() -> None:
    buckets = Buckets(LIMIT, 2, forgets=False)
    for _ in range(100):
        assert passed(buckets, "a", 0.0)
        buckets.give_back("a", 0.0)

    assert (len(buckets), buckets.tell(10)) == (0, [])


def test_only_what_is_a_share_of_the_burst_is_told_and_only_once() -> None:
    buckets = Buckets(Limit(per_s=1, burst=3 * TELL_SHARE), 10)
    for key in ("a", "a", "b", "b", "b", "b"):
        buckets.add(key, 0.0)

    assert buckets.tell(10) == [("b", 4)]
    for key in "abbb":
        buckets.add(key, 50.0)
    assert buckets.tell(10) == [("a", 3), ("b", 3)]
    assert buckets.tell(10) == []


def test_what_was_given_back_is_not_told() -> None:
    buckets = Buckets(LIMIT, 10)
    buckets.add("a", 0.0)
    buckets.add("a", 0.0)
    buckets.give_back("a", 0.0)

    assert buckets.tell(10) == [("a", 1)]


def test_what_does_not_fit_into_a_report_waits_for_the_next() -> None:
    buckets = Buckets(LIMIT, 10)
    for key in "abc":
        buckets.add(key, 0.0)

    assert [key for key, _ in buckets.tell(2) + buckets.tell(0) + buckets.tell(2)] == [
        "a",
        "b",
        "c",
    ]


def test_a_senseless_count_locks_nobody_out_for_good() -> None:
    buckets = Buckets(LIMIT, 10)
    buckets.learn("a", 10**9, 0.0)

    assert 0 < buckets.wait_s("a", 0.0) < 60


@pytest.mark.parametrize(("per_s", "burst"), [(0, 1), (-1, 1), (float("nan"), 1), (1, 0)])
def test_a_limit_lets_something_pass(per_s: float, burst: int) -> None:
    with pytest.raises(ValueError, match="lets anything pass"):
        Limit(per_s, burst)
