"""Stand-ins for the ports, for tests: they record what they are asked and do nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from clawdbot.executor.domain.approval import ApprovalRecord
from clawdbot.executor.domain.capabilities import Capabilities, Guarantee, Level
from clawdbot.executor.domain.operation_key import OperationKey
from clawdbot.executor.domain.plan import Plan
from clawdbot.executor.domain.result import Result
from clawdbot.executor.ports import RunPlan, StoredApproval
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError
from clawdbot.schema.executor import AuditEvent, AuditRecord, Outcome
from clawdbot.schema.ids import Tenant

WORKING = Capabilities("recording", usable=True, levels=dict.fromkeys(Guarantee, Level.ENFORCED))


class RecordingSandbox:
    """A sandbox whose every job prints the same.

    Attributes:
        plans: what it was asked to run, in order.
        started: set once it was asked to run anything.
        gate: when set to an event, jobs wait for it.
        error: when set, what the next job raises instead.
        room: a slot is lent once this is set, which it is at first.
        waiting: set once anybody asked for a slot.
        result: how jobs end.
    """

    def __init__(self, journal: list[str] | None = None) -> None:
        self.capabilities = WORKING
        self.plans: list[Plan] = []
        self.limits_s: list[float] = []
        self.started = asyncio.Event()
        self.gate: asyncio.Event | None = None
        self.error: Exception | None = None
        self.room = asyncio.Event()
        self.room.set()
        self.waiting = asyncio.Event()
        self.result = Result(Outcome.FINISHED, 0, b"out\xff", b"err", False, 0.25)
        self._journal = [] if journal is None else journal
        self._jobs: dict[str, asyncio.Event] = {}

    @asynccontextmanager
    async def slot(self, job: str) -> AsyncIterator[RunPlan]:
        """Lend room once there is any."""
        self.waiting.set()
        await self.room.wait()
        yield partial(self._run, job)

    async def _run(self, job: str, plan: Plan, at_most_s: float) -> Result:
        """Record the plan, wait at the gate, and end as told."""
        self.plans.append(plan)
        self.limits_s.append(at_most_s)
        self._journal.append("run")
        self.started.set()
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        self._jobs[job] = self.gate or asyncio.Event()
        if self.gate is not None:
            await self.gate.wait()
        del self._jobs[job]
        return self.result

    def cancel(self, job: str) -> bool:
        """Open the gate of a waiting job, which then ends as cancelled."""
        gate = self._jobs.get(job)
        if gate is None:
            return False
        self.result = Result(Outcome.CANCELLED, None, b"", b"", False, 0.1)
        gate.set()
        return True


class InMemoryAuditLog:
    """An audit log that lasts as long as the object.

    Attributes:
        records: what was kept, in order.
        errors: what the next calls of `record` raise, first to last.
        are_errors_late: whether they are raised though the record was kept.
    """

    def __init__(self, journal: list[str] | None = None) -> None:
        self.records: list[AuditRecord] = []
        self.errors: list[ClawdbotError] = []
        self.are_errors_late = False
        self._kept: dict[tuple[str, ...], AuditRecord] = {}
        self._journal = [] if journal is None else journal

    async def record(self, tenant: Tenant, record: AuditRecord, deadline: Deadline) -> bool:
        """Keep the first record of an operation's event."""
        deadline.require()
        if self.errors and not self.are_errors_late:
            raise self.errors.pop(0)
        self._journal.append(record.event)
        is_new = self._kept.setdefault(_place(tenant, record), record) is record
        if is_new:
            self.records.append(record)
        if self.errors:
            raise self.errors.pop(0)
        return is_new

    async def find(
        self, tenant: Tenant, like: AuditRecord, deadline: Deadline
    ) -> AuditRecord | None:
        """Return what was kept in the place of `like`."""
        deadline.require()
        return self._kept.get(_place(tenant, like))


class InMemoryApprovals:
    """A store that lasts as long as the object.

    Attributes:
        races: what happens just before the next replacements, first to last.
    """

    def __init__(self) -> None:
        self.races: list[Callable[[], Awaitable[object]]] = []
        self._kept: dict[OperationKey, StoredApproval] = {}

    async def create(self, key: OperationKey, record: ApprovalRecord, deadline: Deadline) -> bool:
        """Keep the first record of `key`."""
        deadline.require()
        first = StoredApproval(record, 1)
        return self._kept.setdefault(key, first) is first

    async def get(self, key: OperationKey, deadline: Deadline) -> StoredApproval | None:
        """Return what `key` holds."""
        deadline.require()
        return self._kept.get(key)

    async def replace(
        self, key: OperationKey, record: ApprovalRecord, revision: int, deadline: Deadline
    ) -> bool:
        """Write `record` at the right revision."""
        deadline.require()
        if self.races:
            await self.races.pop(0)()
        if self._kept[key].revision != revision:
            return False
        self._kept[key] = StoredApproval(record, revision + 1)
        return True

    async def under(self, code: str, deadline: Deadline) -> StoredApproval | None:
        """Look through all of them."""
        deadline.require()
        return next((each for each in self._kept.values() if each.record.code == code), None)

    async def of_user(
        self, tenant: str, user: str, after_ms: int, deadline: Deadline
    ) -> list[ApprovalRecord]:
        """Look through all of them."""
        deadline.require()
        return [
            each.record
            for each in self._kept.values()
            if (each.record.tenant, each.record.user) == (tenant, user)
            and each.record.expires_at_ms > after_ms
        ]


def _place(tenant: Tenant, record: AuditRecord) -> tuple[str, ...]:
    place = tenant, record.user, record.operation_id, record.event
    if record.event is AuditEvent.REFUSED:
        return *place, record.reason, str(record.at_ms), record.attempt
    return place
