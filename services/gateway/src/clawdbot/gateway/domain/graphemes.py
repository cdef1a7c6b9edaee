"""Where a text may be cut without tearing what a reader sees as one character.

Source: Unicode Standard Annex 29, extended grapheme clusters; where the standard library does not
know a property, it is read so that fewer places are cut, never more.
"""

from __future__ import annotations

import unicodedata

ZERO_WIDTH_JOINER = "\u200d"
_EXTENDING = frozenset({"Mn", "Me", "Mc"})
_VIRAMA = 9
"""Combining class of the signs that join two consonants."""


def may_cut(text: str, at: int) -> bool:
    """Return whether `text` falls into whole graphemes when it is cut before index `at`."""
    if at <= 0 or at >= len(text):
        return True
    before, after = text[at - 1], text[at]
    if before in "\r\n" or after in "\r\n":
        return not (before == "\r" and after == "\n")
    if _extends(after) or _joins(before):
        return False
    if _is_flag_letter(before) and _is_flag_letter(after):
        return _flag_letters_before(text, at) % 2 == 0
    return not (_is_hangul(before) and 0x1160 <= ord(after) <= 0x11FF)


def last_cut(text: str, at: int) -> int:
    """Return the last place at or before `at` where `text` may be cut, or `at` when there is none.

    What is one endless grapheme has to be torn.
    """
    for place in range(at, 0, -1):
        if may_cut(text, place):
            return place
    return at


def _extends(char: str) -> bool:
    return (
        unicodedata.category(char) in _EXTENDING
        or char in {ZERO_WIDTH_JOINER, "\u200c", "\u0e33", "\u0eb3", "\uff9e", "\uff9f"}
        or "\U0001f3fb" <= char <= "\U0001f3ff"
        or "\U000e0020" <= char <= "\U000e007f"
    )


def _joins(char: str) -> bool:
    is_prepended = unicodedata.category(char) == "Cf" and "\u0600" <= char <= "\u08ff"
    return (
        char == ZERO_WIDTH_JOINER
        or unicodedata.combining(char) == _VIRAMA
        or is_prepended
        or char in "\U000110bd\U000110cd"
    )


def _is_flag_letter(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def _flag_letters_before(text: str, at: int) -> int:
    start = at
    while start > 0 and _is_flag_letter(text[start - 1]):
        start -= 1
    return at - start


def _is_hangul(char: str) -> bool:
    return "\u1100" <= char <= "\u11ff" or "\uac00" <= char <= "\ud7ff"
