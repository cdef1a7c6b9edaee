"""Which JSON Schemas an answer may be asked to follow."""

from __future__ import annotations

import json

from clawdbot.schema.errors import InvalidMessage

MAX_CHARS = 32 * 1024
MAX_DEPTH = 32
MAX_CONTAINERS = 512
"""Objects and lists. The compiler follows references by recursion on the thread's stack: it was
seen to end the process from about a thousand nested definitions on, never at six hundred."""
FIX = "use a smaller schema"


def checked_schema(text: str) -> str:
    """Return `text` when it is a schema of a size that is safe to compile.

    Raises:
        InvalidMessage: it is no JSON object, or too large.
    """
    if len(text) > MAX_CHARS:
        raise _refused(f"the schema has more than {MAX_CHARS} characters")
    if text.count("{") + text.count("[") > MAX_CONTAINERS:
        raise _refused(f"the schema has more than {MAX_CONTAINERS} objects and lists")
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise _refused("the schema is no JSON", fix=None) from exc
    if not isinstance(schema, dict):
        raise _refused("the schema is no JSON object", fix=None)
    if _depth(schema) > MAX_DEPTH:
        raise _refused(f"the schema is nested deeper than {MAX_DEPTH} levels")
    # Options of the compiler in the schema's own words would loosen it.
    schema.pop("x-guidance", None)
    return json.dumps(schema)


def _depth(value: object) -> int:
    deepest = 0
    left = [(value, 1)]
    while left:
        found, depth = left.pop()
        deepest = max(deepest, depth)
        if isinstance(found, dict):
            left += [(member, depth + 1) for member in found.values()]
        elif isinstance(found, list):
            left += [(member, depth + 1) for member in found]
    return deepest


def _refused(reason: str, fix: str | None = FIX) -> InvalidMessage:
    return InvalidMessage(reason, field="json_schema", fix=fix)
