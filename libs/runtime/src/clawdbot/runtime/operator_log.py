"""What operators did, in the `AUDIT` stream: written before the deed, never deleted."""

from __future__ import annotations

import logging

from clawdbot.runtime.bus import Bus
from clawdbot.runtime.kept import Undecodable
from clawdbot.schema import subjects
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.deeds import OperatorDeed
from clawdbot.schema.ids import derived
from clawdbot.schema.streams import AUDIT

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0


class OperatorLog:
    """Records and lists deeds; needs the operator's permissions, which only allow to append."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def record(self, deed: OperatorDeed) -> None:
        """Keep `deed`; return once the broker has it.

        Raises:
            Unavailable: it is not certain that it is kept, so the deed must not be done.
        """
        place = derived(deed.deed, str(deed.number), deed.who, str(deed.at_ms))
        subject = subjects.operator_deed(deed.deed, place)
        stored = await self._bus.store_once(subject, deed, deadline=Deadline.after(TIMEOUT_S))
        if not stored.is_new:
            # The same person did the same within a millisecond, or our own copy was confirmed late.
            log.info("deed recorded already", extra={"sequence": stored.sequence})

    async def list(self, limit: int = 100) -> list[OperatorDeed]:
        """Return the latest `limit` readable deeds, oldest first.

        Raises:
            Unavailable: the broker does not answer.
        """
        found: list[OperatorDeed] = []
        start = 1
        while True:
            try:
                kept = await self._bus.read_next(
                    AUDIT,
                    subjects.ALL_OPERATOR_DEEDS,
                    start,
                    OperatorDeed,
                    deadline=Deadline.after(TIMEOUT_S),
                )
            except Undecodable as exc:
                log.warning("unreadable deed", extra={"sequence": exc.raw.sequence})
                start = exc.raw.sequence + 1
                continue
            if kept is None:
                return found[-limit:]
            found.append(kept.message)
            start = kept.sequence + 1
