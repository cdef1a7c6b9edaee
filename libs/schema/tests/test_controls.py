"""Control words: a closed list, said alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.schema.controls import (
    MAX_CODE_CHARS,
    MAX_CONTROL_CHARS,
    ControlKind,
    ControlWord,
    control_of,
    said,
)

CODE = "K7Q2M9XW4T"
codes = st.text("0123456789ABCDEFGHJKMNPQRSTVWXYZ", min_size=1, max_size=MAX_CODE_CHARS)
words = st.one_of(
    st.builds(ControlWord, st.sampled_from([ControlKind.APPROVE, ControlKind.DENY]), codes),
    st.just(ControlWord(ControlKind.STOP)),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"/approve {CODE}", ControlWord(ControlKind.APPROVE, CODE)),
        (f"/deny {CODE}", ControlWord(ControlKind.DENY, CODE)),
        ("/stop", ControlWord(ControlKind.STOP)),
        (f"/批准 {CODE}", ControlWord(ControlKind.APPROVE, CODE)),
        (f"/拒绝{CODE}", ControlWord(ControlKind.DENY, CODE)),
        ("/停止", ControlWord(ControlKind.STOP)),
        (f"／ＡＰＰＲＯＶＥ\u3000{CODE.lower()}", ControlWord(ControlKind.APPROVE, CODE)),
        (f"  /Approve@Clawd_bot\t{CODE}\n", ControlWord(ControlKind.APPROVE, CODE)),
        (f"/批准@clawd_bot {CODE}", ControlWord(ControlKind.APPROVE, CODE)),
        ("/STOP@clawd_bot", ControlWord(ControlKind.STOP)),
        ("/approve k7q2m-9xw4t", ControlWord(ControlKind.APPROVE, CODE)),
        ("/approve oil", ControlWord(ControlKind.APPROVE, "011")),
    ],
)
def test_control_word_is_understood_however_it_is_typed(text, expected):
    assert control_of(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "stop",
        "/approve",
        f"/approve{CODE}",
        "/approve --",
        "/deny",
        "/批准",
        "/stop it",
        f"/stop {CODE}",
        f"/停止{CODE}",
        f"please /approve {CODE}",
        f"/approve {CODE} now",
        f"/approve {CODE}\n/approve {CODE}",
        "/approve *",
        "/approve " + "A" * (MAX_CODE_CHARS + 1),
        f"//approve {CODE}",
        f"/approve @bot {CODE}",
        f"/pair {CODE}",
        "/stop" + " " * MAX_CONTROL_CHARS,
    ],
)
def test_anything_else_is_no_control_word(text):
    assert control_of(text) is None


@given(words, st.booleans())
def test_what_a_button_says_is_understood_as_what_it_means(word, in_chinese):
    assert control_of(said(word, in_chinese=in_chinese)) == word


@given(words)
def test_what_a_button_says_fits_every_platform(word):
    # Telegram's callback_data has the smallest room: 64 bytes.
    assert len(said(word, in_chinese=True).encode()) <= 64


@given(words, st.text(min_size=1))
def test_a_control_word_with_more_around_it_is_none(word, more):
    text = f"{said(word)} and {more}"

    assert control_of(text) is None


@given(st.text())
def test_any_text_is_read_without_error_and_only_with_a_slash(text):
    found = control_of(text)

    assert found is None or "/" in text or "／" in text
