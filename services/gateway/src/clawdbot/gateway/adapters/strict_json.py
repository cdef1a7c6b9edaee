"""JSON as two programs that read it the same way must write it.

Source: RFC 8259; I-JSON (RFC 7493) for duplicate names and numbers.
"""

from __future__ import annotations

import json
import math
import re

from clawdbot.gateway.adapters.refusals import BadPayload

MAX_DEPTH = 64
MAX_CONTAINERS = 10_000
"""A megabyte of empty ones would take a hundred of memory."""
MAX_NUMBER_CHARS = 32
"""Python needs quadratic time to read a number, and refuses 4,300 digits with a bare ValueError."""

# An unclosed string runs to the end, so that each byte is looked at once whatever is sent.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.?[^"\\]*+)*+(?:"|\Z)|[\[{]|[\]}]', re.DOTALL)
_OPENS = b"[{"


def parse_object(data: bytes) -> dict[str, object]:
    """Return the object that `data` holds.

    Raises:
        BadPayload: not UTF-8, not JSON, nested deeper than `MAX_DEPTH` or with more brackets
            than `MAX_CONTAINERS`, a name twice in one object, a number that is not finite or too
            long, or no object at the top.
    """
    brackets = data.count(b"[") + data.count(b"{")
    if brackets > MAX_CONTAINERS:
        raise BadPayload(f"the body has more than {MAX_CONTAINERS} lists and objects")
    if brackets > MAX_DEPTH and _is_too_deep(data):
        raise BadPayload(f"the body is nested deeper than {MAX_DEPTH} levels")
    try:
        value: object = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_int=_integer,
            parse_float=_finite,
            parse_constant=_refuse_constant,
        )
    except UnicodeDecodeError as exc:
        raise BadPayload("the body is not UTF-8") from exc
    except json.JSONDecodeError as exc:
        raise BadPayload(f"the body is not JSON, see character {exc.pos}") from exc
    if not isinstance(value, dict):
        raise BadPayload("the body must be a JSON object")
    return value


def _is_too_deep(data: bytes) -> bool:
    depth = 0
    for match in _TOKEN.finditer(data):
        first = match[0][:1]
        if first == b'"':
            continue
        depth += 1 if first in _OPENS else -1
        if depth > MAX_DEPTH:
            return True
    return False


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadPayload("the body has a name twice in one object")
    return found


def _integer(digits: str) -> int:
    if len(digits) > MAX_NUMBER_CHARS:
        raise BadPayload(f"the body has a number of more than {MAX_NUMBER_CHARS} characters")
    return int(digits)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise BadPayload("the body has a number that is too large")
    return value


def _refuse_constant(name: str) -> float:
    raise BadPayload(f"the body has {name}, which is not JSON")
