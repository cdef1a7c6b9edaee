from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.executor.domain.text import MAX_ARGUMENT_BYTES, refuse_unsafe
from clawdbot.schema.errors import InvalidMessage


@pytest.mark.parametrize(
    "hidden",
    [
        "\0",
        "\n",
        "\x1b[2K",
        "\x7f",
        "\x85",
        "\u200b",
        "\u200d",
        "\u202e",
        "\u2066",
        "\u2028",
        "\ufeff",
        "\u00ad",
        "\u3164",
        "\u2800",
        "\ufe0f",
        "\U000e0041",
        "\ud800",
    ],
)
def test_text_that_does_not_show_all_it_holds_is_refused(hidden: str) -> None:
    with pytest.raises(InvalidMessage, match="holds"):
        refuse_unsafe(f"report{hidden}.txt", "name")


@pytest.mark.parametrize("text", ["", "a b", "报告.txt", "naïve", "e\u0301", "😀", "$(id); `x`"])
def test_visible_text_of_any_language_passes(text: str) -> None:
    refuse_unsafe(text, "name")


@given(st.text(st.characters(categories=("Cc", "Cf", "Cs", "Zl", "Zp")), min_size=1), st.text())
def test_no_invisible_category_passes_anywhere(hidden: str, around: str) -> None:
    with pytest.raises(InvalidMessage):
        refuse_unsafe(around + hidden + around, "name")


@given(st.text(max_size=200))
def test_what_passes_is_unchanged_by_being_shown(text: str) -> None:
    try:
        refuse_unsafe(text, "name")
    except InvalidMessage:
        return

    assert all(unicodedata.category(c) not in {"Cc", "Cf", "Cs"} for c in text)
    assert text.encode().decode() == text


def test_length_is_counted_in_bytes() -> None:
    with pytest.raises(InvalidMessage, match="bytes"):
        refuse_unsafe("中" * (MAX_ARGUMENT_BYTES // 3 + 1), "name")
