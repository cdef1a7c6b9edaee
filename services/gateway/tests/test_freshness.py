from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.adapters.platforms.freshness import fresh_milliseconds, fresh_seconds
from clawdbot.schema.errors import Unauthenticated

NOW = 1_700_000_000.0


@given(st.integers(-300, 300))
def test_what_is_within_the_window_is_fresh(offset: int) -> None:
    at = int(NOW) + offset

    assert fresh_seconds(str(at).encode(), NOW, 300) == at
    assert fresh_milliseconds(str(at * 1000).encode(), NOW, 300) == at * 1000


@given(st.integers(301, 600_000_000), st.sampled_from([-1, 1]))
def test_what_is_outside_is_not(offset: int, direction: int) -> None:
    at = int(NOW) + direction * offset

    with pytest.raises(Unauthenticated):
        fresh_seconds(str(at).encode(), NOW, 300)
    with pytest.raises(Unauthenticated):
        fresh_milliseconds(str(at * 1000).encode(), NOW, 300)


@pytest.mark.parametrize(
    "value",
    [b"", b"01700000000", b"1700000000 ", b"+170000000", b"1.7e9", b"nan", b"1_700_0000"],
)
def test_anything_but_ten_digits_is_refused(value: bytes) -> None:
    with pytest.raises(Unauthenticated):
        fresh_seconds(value, NOW, 300)


@given(st.binary(max_size=20))
def test_no_bytes_are_an_error_of_ours(value: bytes) -> None:
    with pytest.raises(Unauthenticated):
        fresh_seconds(value, 0.0, 300)


def test_digits_of_other_scripts_are_no_digits() -> None:
    wide = "\uff11\uff17" + "0" * 8

    with pytest.raises(Unauthenticated):
        fresh_seconds(wide.encode(), NOW, 300)
