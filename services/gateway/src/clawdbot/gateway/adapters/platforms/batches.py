"""Several events in one request, one of which may be beyond us."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from clawdbot.gateway.adapters.platforms.interface import PlatformMessage
from clawdbot.schema.errors import InvalidMessage

log = logging.getLogger(__name__)

E = TypeVar("E")


def understood(
    events: Sequence[E], read: Callable[[E], PlatformMessage | None]
) -> tuple[PlatformMessage, ...]:
    """Return what the events say; one that cannot be read does not lose the others.

    Args:
        events: of one request.
        read: returns None for what needs no answer, raises InvalidMessage for what it cannot read.

    Raises:
        InvalidMessage: of the first that cannot be read, when no event says anything.
    """
    messages: list[PlatformMessage] = []
    failures: list[InvalidMessage] = []
    for event in events:
        try:
            message = read(event)
        except InvalidMessage as exc:
            failures.append(exc)
        else:
            messages += [] if message is None else [message]
    if failures and not messages:
        raise failures[0]
    if failures:
        log.warning("events of a batch not understood", extra={"count": len(failures)})
    return tuple(messages)
