"""Markdown of the generated documents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

NOTICE = "<!-- Generated from the code by `python -m scripts.reference`: do not edit. -->"


def page(title: str, *parts: str) -> str:
    """Return a whole document: title, notice, then `parts` with a blank line between them."""
    return "\n\n".join((f"# {title}", NOTICE, *parts)) + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a cell may hold any text of one line."""
    lines = [_row(header), _row(["---"] * len(header)), *(_row(row) for row in rows)]
    return "\n".join(lines)


def code(text: str) -> str:
    """Return `text` as code; nothing stays nothing."""
    return f"`{text}`" if text else ""


def codes(texts: Iterable[str]) -> str:
    """Return `texts` as code, separated by commas."""
    return ", ".join(code(text) for text in texts)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
