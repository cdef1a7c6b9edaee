"""The waiting list of each channel account: who was told a code, and whom a code belongs to.

An account's list is one record that changes by compare-and-set: so it is bounded, a sender has one
code, and a code is taken once, whichever replica is asked.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable

from clawdbot.gateway.domain.senders import Applicants, after_asking, still_waiting
from clawdbot.gateway.ports.records import RecordStore
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import NotFound, Overloaded
from clawdbot.schema.ids import Channel
from clawdbot.schema.senders import Applicant, Sender

ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""Without I, O, 0 and 1, which are read for each other."""
CODE_CHARS = 8
"""40 bits: nobody meets an open code by guessing within its hour."""
MAX_TRIES = 8
"""Changes of one list at the same time; each of them lets one through."""


def new_code() -> str:
    """Return a code that nobody can foresee."""
    return "".join(secrets.choice(ALPHABET) for _ in range(CODE_CHARS))


class WaitingList:
    """Who waits to be let in."""

    def __init__(
        self,
        records: RecordStore[Applicants],
        *,
        code: Callable[[], str] = new_code,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._records = records
        self._code = code
        self._now = now

    async def ask(self, sender: Sender, *, deadline: Deadline) -> Applicant:
        """Return the sender's place in the list, with the code that they are told now.

        Raises:
            SenderRefused: they are told nothing (any more).
            Overloaded: too many ask at the same time.
        """
        for _ in range(MAX_TRIES):
            waiting, revision = await self._read(sender.channel, deadline)
            changed, applicant = after_asking(waiting, sender, self._code(), self._now_ms())
            if await self._write(sender.channel, changed, revision, deadline):
                return applicant
        raise Overloaded("many strangers write at the same time")

    async def take(
        self, code: str, channels: Iterable[Channel], *, deadline: Deadline
    ) -> Applicant:
        """Return whose code it is, and take it away: it works once.

        Raises:
            NotFound: nobody waits with it (any more).
            Overloaded: too many change the list at the same time.
        """
        for channel in channels:
            applicant = await self._take(code, channel, deadline)
            if applicant is not None:
                return applicant
        raise NotFound(
            "nobody waits with this code: it is mistyped, used, or older than an hour",
            field="code",
            fix="see `clawdbot senders list`; the sender gets a new code by writing again",
        )

    async def waiting(
        self, channels: Iterable[Channel], *, deadline: Deadline
    ) -> tuple[Applicant, ...]:
        """Return who waits at these channels."""
        return tuple(
            [one for channel in channels for one in (await self._read(channel, deadline))[0]]
        )

    async def _take(self, code: str, channel: Channel, deadline: Deadline) -> Applicant | None:
        for _ in range(MAX_TRIES):
            waiting, revision = await self._read(channel, deadline)
            found = next((one for one in waiting if one.code == code), None)
            if found is None:
                return None
            rest = tuple(one for one in waiting if one is not found)
            if await self._write(channel, rest, revision, deadline):
                return found
        raise Overloaded("the waiting list changes too fast")

    async def _read(
        self, channel: Channel, deadline: Deadline
    ) -> tuple[tuple[Applicant, ...], int | None]:
        kept = await self._records.get(channel, deadline=deadline)
        if kept is None:
            return (), None
        return still_waiting(kept.value.waiting, self._now_ms()), kept.revision

    async def _write(
        self,
        channel: Channel,
        waiting: tuple[Applicant, ...],
        revision: int | None,
        deadline: Deadline,
    ) -> bool:
        value = Applicants(waiting=waiting)
        if revision is None:
            return await self._records.create(channel, value, deadline=deadline) is not None
        written = await self._records.replace(channel, value, revision, deadline=deadline)
        return written is not None

    def _now_ms(self) -> int:
        return int(self._now() * 1000)
