from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.adapters.http_errors import LONGEST_WAIT_S, retry_after_s


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        ("7", 7.0),
        ("9" * 400, LONGEST_WAIT_S),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_WAIT_S),
        ("Mon, 01 Jan 2024 00:00:00 GMT", 0.0),
        ("Mon, 01 Jan 2024 99999999999999999999:00:00 GMT", None),
        ("", None),
    ],
)
def test_a_wait_is_read_and_bounded_whoever_says_it(value: str, wait_s: float | None) -> None:
    assert retry_after_s(value) == wait_s


@given(
    st.from_regex(r"(Mon, )?[0-9]{1,25} Jan [0-9]{1,25} ([0-9]{1,25}:){1,2}[0-9]{1,25} [+-]?\w*")
)
def test_every_date_is_a_bounded_wait_or_none(value: str) -> None:
    found = retry_after_s(value)

    assert found is None or 0 <= found <= LONGEST_WAIT_S
