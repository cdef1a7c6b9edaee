"""The records of API tokens, for whoever holds the operator's key to the bus."""

from __future__ import annotations

import time
from datetime import timedelta

from clawdbot.runtime.bus import Bus
from clawdbot.runtime.records import Records
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.streams import TOKENS
from clawdbot.schema.tokens import (
    FORGET_AFTER,
    MAX_LIFETIME,
    TokenRecord,
    subject_key,
    token_key,
)

PATIENCE_S = 10.0


class TokenDesk:
    """Records, lists and revokes tokens; every gateway follows what stands here.

    Every call raises Unavailable or DeadlineExceeded when the broker does not answer.
    """

    def __init__(self, records: Records[TokenRecord]) -> None:
        self._records = records

    @classmethod
    async def open(cls, bus: Bus) -> TokenDesk:
        """Return the desk on `bus`."""
        return cls(await Records.open(bus, TOKENS, TokenRecord))

    async def record(self, made: TokenRecord) -> None:
        """Keep what is known of a token that was made, until it has expired."""
        await self._put(token_key(made.token_id or ""), made)

    async def list(self) -> list[TokenRecord]:
        """Return all that has not expired, in the order of the last change."""
        changes = self._records.changes(deadline=Deadline.after(PATIENCE_S))
        return [change.value async for change in changes if change.value is not None]

    async def revoke(self, token_id: str) -> TokenRecord:
        """Have a token refused from now on; its record says when it was revoked first.

        One that was not made here may come from a foreign issuer: nobody knows when it expires,
        so the record is kept for as long as any token may live.
        """
        key, now_ms = token_key(token_id), _now_ms()
        found = await self._records.get(key, deadline=Deadline.after(PATIENCE_S))
        if found is None:
            known = TokenRecord(token_id=token_id, expires_at_ms=now_ms + _LONGEST_MS)
        elif found.value.revoked_at_ms is not None:
            return found.value
        else:
            known = found.value
        revoked = known.model_copy(update={"revoked_at_ms": now_ms})
        await self._put(key, revoked)
        return revoked

    async def revoke_subject(self, tenant: str, subject: str) -> TokenRecord:
        """Have all tokens refused that were issued for `subject` of `tenant` until now."""
        now_ms = _now_ms()
        revoked = TokenRecord(
            tenant=tenant,
            subject=subject,
            expires_at_ms=now_ms + _LONGEST_MS,
            revoked_at_ms=now_ms,
        )
        await self._put(subject_key(tenant, subject), revoked)
        return revoked

    async def _put(self, key: str, record: TokenRecord) -> None:
        left = timedelta(milliseconds=max(0, record.expires_at_ms - _now_ms()))
        deadline = Deadline.after(PATIENCE_S)
        await self._records.put(key, record, ttl=left + FORGET_AFTER, deadline=deadline)


_LONGEST_MS = int(MAX_LIFETIME.total_seconds() * 1000)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
