"""The audit records of one operation, written in the order of events."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from clawdbot.executor.ports import AuditLog
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import Rejected, Unavailable
from clawdbot.schema.executor import AuditEvent, AuditRecord
from clawdbot.schema.principal import Principal

_REASON_CHARACTERS = 300


@dataclass(frozen=True)
class Subject:
    """What the records are about."""

    principal: Principal
    operation_id: str
    instruction: str


class AuditTrail:
    """Writes what happens to one operation.

    Args:
        log: where to.
        about: whose operation it is.
        timeout: how long the log may take to confirm one record.
    """

    def __init__(self, log: AuditLog, about: Subject, timeout: timedelta) -> None:
        self._log = log
        self._about = about
        self._timeout_s = timeout.total_seconds()

    @asynccontextmanager
    async def refusals(self) -> AsyncIterator[None]:
        """Record a refusal that happens inside, then let it pass.

        Raises:
            Unavailable: the refusal could not be recorded; the caller will ask again.
        """
        try:
            yield
        except Rejected as refusal:
            reason = f"{refusal.code}: {refusal.message}"[:_REASON_CHARACTERS]
            record = self._record(AuditEvent.REFUSED, reason=reason)
            # Equal ones may fall into one millisecond, and each is kept.
            await self._write(record.model_copy(update={"attempt": secrets.token_hex(8)}))
            raise

    async def started(self, plan_hash: str, attempt: str) -> AuditRecord | None:
        """Record the intent to run; return somebody else's earlier record, if there is one.

        Args:
            plan_hash: what is to be run.
            attempt: what tells this record from others; the same when this is tried again.

        Raises:
            Unavailable: it is not known to be recorded, so nothing may run.
        """
        record = self._record(AuditEvent.STARTED, plan_hash=plan_hash)
        record = record.model_copy(update={"attempt": attempt})
        if await self._write(record):
            return None
        kept = await self.find(AuditEvent.STARTED)
        if kept is None:
            raise Unavailable("the audit log does not show a record that it refused to repeat")
        # Ours was kept, and only the confirmation was lost.
        return None if kept.attempt == attempt else kept

    async def finished(self, plan_hash: str, outcome: str) -> None:
        """Record the end.

        Raises:
            Unavailable: it is not recorded.
        """
        record = self._record(AuditEvent.FINISHED, plan_hash=plan_hash, outcome=outcome)
        await self._write(record)

    async def decided(self, event: AuditEvent, plan_hash: str) -> None:
        """Record a person's answer.

        Raises:
            Unavailable: it is not recorded.
        """
        await self._write(self._record(event, plan_hash=plan_hash))

    async def find(self, event: AuditEvent) -> AuditRecord | None:
        """Return the operation's record of `event`, or None.

        Raises:
            Unavailable: the log does not answer.
        """
        tenant = self._about.principal.tenant
        return await self._log.find(tenant, self._record(event), self._deadline())

    async def _write(self, record: AuditRecord) -> bool:
        return await self._log.record(self._about.principal.tenant, record, self._deadline())

    def _deadline(self) -> Deadline:
        return Deadline.after(self._timeout_s)

    def _record(
        self, event: AuditEvent, *, plan_hash: str = "", outcome: str = "", reason: str = ""
    ) -> AuditRecord:
        return AuditRecord(
            event=event,
            operation_id=self._about.operation_id,
            at_ms=int(time.time() * 1000),
            user=self._about.principal.user,
            conversation_id=self._about.principal.conversation_id,
            instruction=self._about.instruction,
            plan_hash=plan_hash,
            outcome=outcome,
            reason=reason,
        )
