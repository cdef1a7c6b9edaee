"""The one tokeniser: the same terms when a memory is written and when it is asked for.

Words are folded and stemmed; Chinese, Japanese and Korean text has no spaces to split at, so it
gives each character and each pair of neighbours. Pairs are precise, single characters find the
rest (and one-character questions). Databases' own tokenisers lose short Chinese words.

Source: Porter2 (Snowball) for English; Unicode UAX #15 (NFKC) and case folding.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

import snowballstemmer

MAX_TERM_CHARS = 64
"""Longer words are cut: the width of the database's column, in characters."""
MAX_STEMMED_CHARS = 32
"""Longer words are ids, hashes or noise, not English."""

_CJK = (
    "\u3041-\u3096"  # Hiragana
    "\u30a1-\u30fa"  # Katakana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Han
    "\uac00-\ud7a3"  # Hangul
    "\U00020000-\U000323af"  # Han, further extensions
)
_CJK_CHARACTER = re.compile(f"[{_CJK}]")
_WORD = rf"[^\W_{_CJK}]+"
# The prolonged sound mark belongs to Katakana words but is no character of its own.
_RUN = re.compile(rf"(?P<cjk>[{_CJK}][{_CJK}\u30fc]*)|(?P<word>{_WORD}(?:'{_WORD})*)")


def tokens(text: str) -> list[str]:
    """Return the terms of `text`, in order, with repetitions.

    Returns:
        Terms of 1 to `MAX_TERM_CHARS` characters; none for text without letters and digits.
    """
    return [term[:MAX_TERM_CHARS] for run in _RUN.finditer(normalised(text)) for term in _of(run)]


def normalised(text: str) -> str:
    """Return `text` with compatibility forms unified and case folded; twice changes nothing."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    # Folding can leave sequences that compose again, and those can fold again.
    again = unicodedata.normalize("NFKC", folded).casefold()
    return unicodedata.normalize("NFKC", again).replace("\u2019", "'")


def is_single_character(term: str) -> bool:
    """Tell whether `term` is one CJK character, which says less than a word or a pair."""
    return len(term) == 1 and _CJK_CHARACTER.fullmatch(term) is not None


def _of(run: re.Match[str]) -> Iterator[str]:
    if word := run["word"]:
        yield _stem(word) if word.isascii() and len(word) <= MAX_STEMMED_CHARS else word
        return
    characters = run["cjk"]
    yield from characters
    yield from map("".join, pairwise(characters))


@lru_cache(maxsize=65_536)
def _stem(word: str) -> str:
    # A new stemmer for each word that is not cached: it holds state and threads share the cache.
    stem: str = snowballstemmer.stemmer("english").stemWord(word)
    return stem or word
