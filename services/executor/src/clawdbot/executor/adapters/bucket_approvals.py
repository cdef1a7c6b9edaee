"""Approvals in the `approvals` bucket, with an index in memory that follows it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import NamedTuple

from clawdbot.executor.domain.approval import ApprovalRecord
from clawdbot.executor.domain.operation_key import OperationKey
from clawdbot.executor.ports import StoredApproval
from clawdbot.runtime.bus import Bus
from clawdbot.runtime.records import Record, Records
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.ids import derived
from clawdbot.schema.streams import BUCKETS

BUCKET = next(bucket for bucket in BUCKETS if bucket.name == "approvals")


_KEPT_MS = int((BUCKET.ttl or timedelta.max).total_seconds() * 1000)


class _Entry(NamedTuple):
    """As much of a record as finds it."""

    code: str
    tenant: str
    user: str
    expires_at_ms: int


class BucketApprovals:
    """An `ApprovalStore`; open with `BucketApprovals.open`.

    A key is a hash of tenant, user and operation. The index is brought up to date before each look,
    at the cost of one request when nothing changed, and lets go what the bucket let go.
    """

    def __init__(self, records: Records[ApprovalRecord]) -> None:
        self._records = records
        self._seen = 0
        self._index: dict[str, _Entry] = {}
        self._following = asyncio.Lock()

    @classmethod
    async def open(cls, bus: Bus) -> BucketApprovals:
        """Return the store of the provisioned bucket.

        Raises:
            Unavailable: it does not exist, or the broker does not answer.
        """
        return cls(await Records.open(bus, BUCKET, ApprovalRecord))

    async def create(self, key: OperationKey, record: ApprovalRecord, deadline: Deadline) -> bool:
        """Keep the first record of an operation; return whether this is it."""
        return await self._records.create(_name(key), record, deadline=deadline) is not None

    async def get(self, key: OperationKey, deadline: Deadline) -> StoredApproval | None:
        """Return the record of an operation, or None."""
        return _stored(await self._records.get(_name(key), deadline=deadline))

    async def replace(
        self, key: OperationKey, record: ApprovalRecord, revision: int, deadline: Deadline
    ) -> bool:
        """Write `record` if the stored one is still at `revision`; return whether it was."""
        name = _name(key)
        written = await self._records.replace(name, record, revision, deadline=deadline)
        return written is not None

    async def under(self, code: str, deadline: Deadline) -> StoredApproval | None:
        """Return the record with this code, or None."""
        await self._follow(deadline)
        name = next((name for name, entry in self._index.items() if entry.code == code), None)
        return _stored(await self._records.get(name, deadline=deadline)) if name else None

    async def of_user(
        self, tenant: str, user: str, after_ms: int, deadline: Deadline
    ) -> list[ApprovalRecord]:
        """Return the user's records that expire after Unix time `after_ms`."""
        await self._follow(deadline)
        names = [
            name
            for name, entry in self._index.items()
            if (entry.tenant, entry.user) == (tenant, user) and entry.expires_at_ms > after_ms
        ]
        found = [await self._records.get(name, deadline=deadline) for name in names]
        return [each.value for each in found if each is not None]

    async def _follow(self, deadline: Deadline) -> None:
        async with self._following:
            async for change in self._records.changes(self._seen, deadline=deadline):
                self._seen = change.revision
                # What changed last stands last, so that the oldest are the first to be let go.
                self._index.pop(change.key, None)
                if change.value is not None:
                    self._index[change.key] = _entry(change.value)
                    self._let_go(change.value.expires_at_ms - _KEPT_MS)

    def _let_go(self, before_ms: int) -> None:
        """Forget what the bucket no longer keeps."""
        oldest = next(iter(self._index))
        while self._index[oldest].expires_at_ms < before_ms:
            del self._index[oldest]
            oldest = next(iter(self._index))


def _entry(record: ApprovalRecord) -> _Entry:
    return _Entry(record.code, record.tenant, record.user, record.expires_at_ms)


def _stored(found: Record[ApprovalRecord] | None) -> StoredApproval | None:
    return None if found is None else StoredApproval(found.value, found.revision)


def _name(key: OperationKey) -> str:
    # Each part by itself first: an operation's id may be any text, separators included.
    return derived(*(derived(part) for part in key))
