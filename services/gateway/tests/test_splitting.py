from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.domain.graphemes import may_cut
from clawdbot.gateway.domain.splitting import TextLimit, Unit, open_fence, split

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
FLAGS = "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7"
pieces = st.sampled_from(
    [
        "```python\n",
        "```\n",
        "~~~~\n",
        "`````\n",
        "\n",
        "\n\n",
        "\r\n",
        " ",
        "word ",
        "x" * 50,
        "\u597d" * 30,
        FAMILY,
        FLAGS,
        "e\u0301",
        "  code\n",
        "a```b\n",
        "\u00e9" * 70,
    ]
)
texts = st.one_of(st.lists(pieces, max_size=60).map("".join), st.text(max_size=700))
limits = st.builds(TextLimit, st.integers(128, 300), st.sampled_from(list(Unit)))


@given(texts, limits)
def test_every_part_fits_is_not_blank_and_leaves_no_code_block_open(
    text: str, limit: TextLimit
) -> None:
    for part in split(text, limit):
        assert limit.size(part) <= limit.most
        assert part.strip()
        assert open_fence(part) is None


@given(texts, limits)
def test_nothing_that_can_be_seen_is_lost(text: str, limit: TextLimit) -> None:
    assert seen("\n".join(split(text, limit))) == seen(text)


def seen(text: str) -> str:
    """The text without space and without what closes and reopens a code block."""
    left = re.sub(r"\s|[`~]", "", text)
    # The word may be cut in two, with an opening line between its halves.
    while "python" in left:
        left = left.replace("python", "")
    return left


@given(st.text(max_size=128))
def test_what_fits_stays_as_it_is(text: str) -> None:
    expected = (text,) if text.strip() else ()

    assert open_fence(text) is not None or split(text, TextLimit(128)) == expected


def test_a_paragraph_is_the_first_choice_then_a_line_then_a_word() -> None:
    limit = TextLimit(128)
    paragraph, line, word = "a" * 80, "b" * 10, "c" * 10

    by_paragraph = split(f"{paragraph}\n\n{line}\n{word} {'d' * 60}", limit)
    by_line = split(f"{paragraph}\n{word} {'d' * 60}", limit)
    by_word = split(f"{paragraph} {'d' * 60}", limit)

    assert by_paragraph[0] == by_line[0] == by_word[0] == paragraph


def test_a_code_block_that_is_cut_is_closed_and_opened_again() -> None:
    lines = [f"print({number:04})" for number in range(20)]
    text = "```python\n" + "\n".join(lines) + "\n```"

    parts = split(text, TextLimit(128))

    assert len(parts) > 1
    assert all(part.startswith("```python\n") and part.endswith("\n```") for part in parts)
    assert [line for part in parts for line in part.split("\n")[1:-1]] == lines


@pytest.mark.parametrize("length", range(90, 150))
def test_there_is_always_room_to_close_a_code_block(length: int) -> None:
    parts = split("````````\n" + "x" * length, TextLimit(128))

    assert all(len(part) <= 128 and open_fence(part) is None for part in parts)


def test_a_code_block_that_ends_at_the_cut_is_not_opened_again() -> None:
    text = "```\n" + "x" * 114 + "\n```\nafter " + "y" * 60

    first, second = split(text, TextLimit(128))

    assert first.endswith("\n```")
    assert second == "after " + "y" * 60


@pytest.mark.parametrize("grapheme", [FAMILY, FLAGS[:2], "e\u0301\u0323", "\U0001f44d\U0001f3fd"])
@pytest.mark.parametrize("unit", list(Unit))
def test_a_grapheme_is_never_torn(grapheme: str, unit: Unit) -> None:
    parts = split(grapheme * 300, TextLimit(131, unit))

    assert len(parts) > 1
    assert all(len(part) % len(grapheme) == 0 for part in parts)


def test_one_endless_grapheme_is_torn_rather_than_lost() -> None:
    text = "e" + "\u0301" * 500

    assert "".join(split(text, TextLimit(128))) == text


@pytest.mark.parametrize(
    ("text", "at", "expected"),
    [
        ("\r\n", 1, False),
        ("ab", 1, True),
        (FLAGS, 1, False),
        (FLAGS, 2, True),
        (FLAGS, 3, False),
        ("\u0915\u094d\u0937", 1, False),
        ("\u0915\u094d\u0937", 2, False),
        ("\u1100\u1161", 1, False),
        ("\uac00\u11a8", 1, False),
        ("\uac00\uac00", 1, True),
        ("\u2764\ufe0f", 1, False),
    ],
)
def test_graphemes_end_where_unicode_says(text: str, at: int, expected: bool) -> None:
    assert may_cut(text, at) is expected


def test_a_limit_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match="too short"):
        TextLimit(127)
