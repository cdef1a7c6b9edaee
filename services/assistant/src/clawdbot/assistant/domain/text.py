"""Making text fit where it has to stand."""

from __future__ import annotations

MARK = "\n[…]\n"
"""Stands where the middle of a text was cut out."""


def cut(text: str, keep: int) -> str:
    """Return `text` with only `keep` of its characters, from both ends, around a mark.

    The ends are kept because a question usually stands in the first or the last sentence.
    """
    if keep >= len(text):
        return text
    tail = keep // 2
    head = keep - tail
    return text[:head] + MARK + text[len(text) - tail :]


def bounded(text: str, limit: int) -> str:
    """Return `text` in at most `limit` characters, the mark of a cut included."""
    return text if len(text) <= limit else cut(text, max(0, limit - len(MARK)))


def one_line(text: str, limit: int) -> str:
    """Return `text` as one line of at most `limit` characters, so that it cannot fake a heading."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1].rstrip()}…"
