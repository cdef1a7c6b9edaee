"""Which tokens are revoked, followed in the bucket `tokens` by every replica for itself."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import Protocol

from clawdbot.runtime.records import Change, Records
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, Unavailable
from clawdbot.schema.tokens import TokenRecord, subject_key, token_key

log = logging.getLogger(__name__)

POLL_S = 0.5
"""How old a revocation may be before a replica acts on it."""
LOOK_TIMEOUT_S = 5.0
STALE_AFTER_S = 10.0
"""Without news for longer a replica is not ready; what it knows it goes on refusing."""
SWEEP_S = 60.0


class RevocationList(Protocol):
    """Knows what was revoked."""

    def revokes(
        self, *, token_id: str | None, tenant: str, subject: str, issued_at_s: float
    ) -> bool:
        """Return whether such a token was revoked.

        Raises:
            Unavailable: the list was not read yet, so nobody knows.
        """
        ...


class NothingRevoked:
    """A list for tests of everything else."""

    def revokes(
        self, *, token_id: str | None, tenant: str, subject: str, issued_at_s: float
    ) -> bool:
        """Return that it was not."""
        del token_id, tenant, subject, issued_at_s
        return False


class Revocations:
    """The list, held in memory and brought up to date by `run`.

    It holds what operators revoked and what has not expired since.
    """

    def __init__(self, records: Records[TokenRecord]) -> None:
        self._records = records
        self._after = 0
        self._revoked: dict[str, TokenRecord] = {}
        self._read_at: float | None = None
        self._swept_at = time.monotonic()

    def revokes(
        self, *, token_id: str | None, tenant: str, subject: str, issued_at_s: float
    ) -> bool:
        """Return whether the token itself was revoked, or all of its subject's until then.

        Raises:
            Unavailable: the list was not read yet.
        """
        if self._read_at is None:
            raise Unavailable("the list of revoked tokens was not read yet")
        if not self._revoked:
            return False
        if token_id is not None and token_key(token_id) in self._revoked:
            return True
        all_until = self._revoked.get(subject_key(tenant, subject))
        if all_until is None or all_until.revoked_at_ms is None:
            return False
        return math.floor(issued_at_s * 1000) <= all_until.revoked_at_ms

    def stale(self) -> str | None:
        """Return why what is known of revocations is too old, or None."""
        if self._read_at is None:
            return "the list of revoked tokens was not read yet"
        age_s = time.monotonic() - self._read_at
        return f"no news of revoked tokens for {age_s:.0f} s" if age_s > STALE_AFTER_S else None

    async def run(self) -> None:
        """Keep following until cancelled."""
        while True:
            try:
                await self.look()
            except ClawdbotError as exc:
                log.warning("revoked tokens not read", extra={"reason": exc.message})
            await asyncio.sleep(POLL_S)

    async def look(self) -> None:
        """Read what changed since the last look.

        Raises:
            ClawdbotError: the broker does not answer, or a record cannot be understood.
        """
        deadline = Deadline.after(LOOK_TIMEOUT_S)
        async for change in self._records.changes(self._after, deadline=deadline):
            self._note(change)
            self._after = change.revision
        self._read_at = time.monotonic()
        if self._read_at - self._swept_at > SWEEP_S:
            self._sweep()

    def _note(self, change: Change[TokenRecord]) -> None:
        if change.value is None or change.value.revoked_at_ms is None:
            self._revoked.pop(change.key, None)
        else:
            self._revoked[change.key] = change.value

    def _sweep(self) -> None:
        now_ms = time.time() * 1000
        for key in [key for key, kept in self._revoked.items() if kept.expires_at_ms < now_ms]:
            del self._revoked[key]
        self._swept_at = time.monotonic()
