from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clawdbot.memory.domain.tokens import (
    MAX_TERM_CHARS,
    is_single_character,
    normalised,
    tokens,
)


def test_mixed_script_is_split_where_the_script_changes() -> None:
    assert tokens("用Python写脚本") == ["用", "python", "写", "脚", "本", "写脚", "脚本"]


def test_english_words_meet_in_their_stem() -> None:
    assert tokens("Running runs RUN") == ["run", "run", "run"]


def test_possessive_and_typographic_apostrophe_change_nothing() -> None:
    assert tokens("Ann\u2019s dog") == tokens("Ann's dog") == ["ann", "dog"]


def test_full_width_letters_are_the_same_as_plain_ones() -> None:
    assert tokens("ＣＰＵ１") == tokens("cpu1") == ["cpu1"]


def test_japanese_and_korean_give_characters_and_pairs() -> None:
    assert tokens("コーヒー") == ["コ", "ー", "ヒ", "ー", "コー", "ーヒ", "ヒー"]
    assert tokens("커피") == ["커", "피", "커피"]


def test_punctuation_emoji_and_underscores_are_no_terms() -> None:
    assert tokens("!? __ 😀 。、") == []


def test_only_one_cjk_character_counts_as_a_single_character() -> None:
    assert is_single_character("茶")
    assert not is_single_character("a")
    assert not is_single_character("咖啡")


@given(st.text())
def test_any_text_gives_terms_that_fit_their_column(text: str) -> None:
    found = tokens(text)

    assert all(0 < len(term) <= MAX_TERM_CHARS for term in found)


@given(st.text())
def test_a_text_asked_for_as_it_was_written_gives_the_same_terms(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)
    assert tokens(normalised(text)) == tokens(text)


@given(st.text(), st.text())
def test_terms_do_not_depend_on_the_neighbours_across_a_space(left: str, right: str) -> None:
    assert tokens(f"{left} {right}") == tokens(left) + tokens(right)
