"""What only the source text knows: docstrings under fields, and who uses which name."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@cache
def field_docstrings(owner: type) -> dict[str, str]:
    """Return the docstring under each field of a class, on one line."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
    assert isinstance(body, ast.ClassDef)  # noqa: S101 -- narrows what the source of a class is
    found = {}
    for field, after in pairwise(body.body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            text = _text(after)
            if text is not None:
                found[field.target.id] = text
    return found


def summary(documented: object) -> str:
    """Return the first paragraph of a docstring, on one line."""
    return " ".join((inspect.getdoc(documented) or "").split("\n\n")[0].split())


def modules(package: str, word: str) -> Iterator[tuple[Path, ast.Module]]:
    """Yield the modules of a distribution, such as `services/memory`, that mention `word`."""
    for path in sorted((ROOT / package / "src").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        # Parsing them all would take seconds.
        if word in text:
            yield path, ast.parse(text)


def services() -> Iterator[str]:
    """Yield the names of the services, as their folders have them."""
    yield from sorted(path.name for path in (ROOT / "services").iterdir() if path.is_dir())


def _text(statement: ast.stmt) -> str | None:
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Constant):
        return None
    value = statement.value.value
    return " ".join(value.split()) if isinstance(value, str) else None
