"""A long reply as parts that a platform takes: cut where it hurts least, code blocks kept whole.

Source: CommonMark 0.31, section 4.5 (fenced code blocks).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from clawdbot.gateway.domain.graphemes import last_cut

SMALLEST_LIMIT = 128
"""Room for a code block's first and last line, and for text between them."""
LONGEST_MARK = 8
"""Longest fence that is kept up across parts; nobody writes longer ones."""
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_LANGUAGE = re.compile(r"\s*([A-Za-z0-9_+#.-]{1,24})(?:\s|$)")


class Unit(Enum):
    """What a platform counts."""

    CHARACTERS = "characters"
    """Unicode code points."""
    UTF16 = "utf-16"
    """UTF-16 code units: a character beyond U+FFFF counts twice."""
    BYTES = "bytes"
    """Bytes of UTF-8."""


_SIZES: dict[Unit, Callable[[str], int]] = {
    Unit.CHARACTERS: len,
    Unit.UTF16: lambda text: len(text.encode("utf-16-le")) // 2,
    Unit.BYTES: lambda text: len(text.encode("utf-8")),
}


@dataclass(frozen=True)
class TextLimit:
    """How long one part may be, `SMALLEST_LIMIT` or more."""

    most: int
    unit: Unit = Unit.CHARACTERS

    def __post_init__(self) -> None:
        if self.most < SMALLEST_LIMIT:
            raise ValueError(f"a part of {self.most} {self.unit.value} is too short")

    def size(self, text: str) -> int:
        """Return the length of `text` in this unit."""
        return _SIZES[self.unit](text)

    def reach(self, text: str, most: int) -> int:
        """Return how many characters of `text` fit into `most` units."""
        if self.unit is Unit.CHARACTERS:
            return min(most, len(text))
        encoding, width = ("utf-8", 1) if self.unit is Unit.BYTES else ("utf-16-le", 2)
        head = text[:most].encode(encoding)[: most * width]
        # What is cut in the middle of a character does not fit.
        return len(head.decode(encoding, "ignore")) if head else 0


class Fence(NamedTuple):
    """The first line of a code block, in short."""

    mark: str
    language: str

    @property
    def opening(self) -> str:
        """The line that opens the block again."""
        return f"{self.mark}{self.language}\n"

    @property
    def closing(self) -> str:
        """What closes it."""
        return f"\n{self.mark}"


def split(text: str, limit: TextLimit) -> tuple[str, ...]:
    """Return the parts of `text`, each within `limit` and none of them blank.

    Cuts after a paragraph, else a line, else a word, else a grapheme. A code block that has to be
    cut is closed, and opened again in the next part.
    """
    if limit.size(text) <= limit.most and open_fence(text) is None:
        return (text,) if text.strip() else ()
    parts: list[str] = []
    opening = ""
    while text.strip():
        part, opening, text = _first(opening, text, limit)
        if part.strip():
            parts.append(part)
    return tuple(parts)


def _first(opening: str, text: str, limit: TextLimit) -> tuple[str, str, str]:
    """Return the first part, what opens the next one, and the rest of `text`."""
    # Whatever is cut, there must be room to close a block that the part opens.
    room = limit.most - limit.size(opening) - LONGEST_MARK - 1
    reach = limit.reach(text, room)
    end, next_start = (reach, reach) if reach == len(text) else _cut(text, reach)
    part, rest = opening + text[:end], text[next_start:]
    fence = open_fence(part)
    if fence is None:
        return part, "", rest
    closing_line, _, after = rest.partition("\n")
    if _closes(closing_line, fence.mark):
        return part.rstrip("\n") + fence.closing, "", after
    return part.rstrip("\n") + fence.closing, fence.opening, rest


def _cut(text: str, reach: int) -> tuple[int, int]:
    """Return where the first part of `text` ends, at most at `reach`, and where the next starts."""
    window = text[: reach + 2]
    for separator in ("\n\n", "\n"):
        end = window.rfind(separator, reach // 2, reach + len(separator))
        if 0 < end <= reach:
            return end, end + len(separator)
    end = window.rfind(" ", reach // 3, reach + 1)
    if 0 < end <= reach:
        return end, end + 1
    end = last_cut(text, reach)
    return end, end


def open_fence(text: str) -> Fence | None:
    """Return the code block that `text` begins and does not end, or None."""
    opened: Fence | None = None
    for line in text.split("\n"):
        if opened is not None:
            opened = None if _closes(line, opened.mark) else opened
        else:
            opened = _opens(line)
    return opened


def _opens(line: str) -> Fence | None:
    match = _FENCE.fullmatch(line)
    if match is None or len(match[1]) > LONGEST_MARK or (match[1][0] == "`" and "`" in match[2]):
        return None
    language = _LANGUAGE.match(match[2])
    return Fence(match[1], language[1] if language else "")


def _closes(line: str, mark: str) -> bool:
    match = _FENCE.fullmatch(line)
    return match is not None and match[1].startswith(mark) and not match[2].strip()
