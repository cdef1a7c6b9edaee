"""Where a page of a list ends, as text that its reader hands back unread."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

from clawdbot.schema.errors import InvalidMessage

MAX_CURSOR_CHARS = 512
MAX_ID_CHARS = 64
LATEST_MS = 253_402_300_799_999
"""The end of the year 9999."""


def cursor(at_ms: int, last_id: str) -> str:
    """Return the text for a page that ends with `last_id`, of the time `at_ms`."""
    # Escapes would make twelve characters of one, and a long id's cursor longer than we read.
    text = json.dumps([at_ms, last_id], ensure_ascii=False)
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(text: str, field: str) -> tuple[int, str]:
    """Return the time and id in `text`.

    Raises:
        InvalidMessage: it is no cursor of ours.
    """
    try:
        if len(text) > MAX_CURSOR_CHARS:
            raise ValueError("too long")
        at_ms, last_id = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if not _is_time(at_ms) or not _is_id(last_id):
            raise ValueError("not ours")
    except (ValueError, TypeError, RecursionError) as exc:
        fix = "send the 'next' of the page before, unchanged"
        raise InvalidMessage(f"{field!r} cannot be used", field=field, fix=fix) from exc
    return at_ms, last_id


def _is_time(value: object) -> bool:
    return type(value) is int and 0 <= value <= LATEST_MS


def _is_id(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_ID_CHARS and value.isprintable()
