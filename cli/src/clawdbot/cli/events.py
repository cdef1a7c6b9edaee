"""Server-sent events, as far as our gateway uses them.

Source: WHATWG HTML, section 9.2 (server-sent events).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Event:
    """One event and its JSON data."""

    name: str
    data: dict[str, Any]


def parse_events(lines: Iterable[str]) -> Iterator[Event]:
    """Yield the events in `lines`; comments and events without a JSON object are passed over."""
    name, data = "message", ""
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data += value
        elif not line:
            if (event := _event(name, data)) is not None:
                yield event
            name, data = "message", ""


def _event(name: str, data: str) -> Event | None:
    try:
        parsed = json.loads(data)
    except ValueError:
        return None
    return Event(name, parsed) if isinstance(parsed, dict) else None
