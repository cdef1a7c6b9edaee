"""What the executor needs of the world."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from clawdbot.executor.domain.approval import ApprovalRecord
from clawdbot.executor.domain.capabilities import Capabilities
from clawdbot.executor.domain.operation_key import OperationKey
from clawdbot.executor.domain.plan import Plan
from clawdbot.executor.domain.result import Result
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.executor import AuditRecord
from clawdbot.schema.ids import Tenant


class NotStarted(Unavailable):
    """Nothing of the job ever ran, so it may be tried again; any other error leaves that open."""


RunPlan = Callable[[Plan, float], Awaitable[Result]]
"""Runs a plan within so many seconds of wall time, if those are less than its profile's.

When it returns or raises, no process of the job is left; being cancelled kills the job. Raises
`NotStarted`, or `Unavailable` when the job had begun and its end is not known.
"""


class Sandbox(Protocol):
    """Where plans are run."""

    @property
    def capabilities(self) -> Capabilities:
        """What it was seen to do; not usable means that it runs nothing."""
        ...

    def slot(self, job: str) -> AbstractAsyncContextManager[RunPlan]:
        """Wait for room for one job and lend it; nothing runs before what it gives is called.

        Args:
            job: by which it can be cancelled, from now on; not in use by another.

        Raises:
            Unavailable: there is no working sandbox.
        """
        ...

    def cancel(self, job: str) -> bool:
        """End a job as `CANCELLED`: killed if it runs, never started if it waits.

        Returns whether there was one.
        """
        ...


class AuditLog(Protocol):
    """The record of what was about to be done and what came of it; it can only grow."""

    async def record(self, tenant: Tenant, record: AuditRecord, deadline: Deadline) -> bool:
        """Keep `record`; return once it is safe, and whether it is the first of its kind.

        There is one record for each event of a user's operation; a second is not kept. Refusals
        are all kept, since each may have another reason.

        Raises:
            Unavailable: it could not be kept, so the deed must not be done.
        """
        ...

    async def find(
        self, tenant: Tenant, like: AuditRecord, deadline: Deadline
    ) -> AuditRecord | None:
        """Return the record of the same event of the same user's operation as `like`, or None.

        Raises:
            Unavailable: the log does not answer.
        """
        ...


@dataclass(frozen=True)
class StoredApproval:
    """An approval as the store holds it."""

    record: ApprovalRecord
    revision: int
    """What a replacement names."""


class ApprovalStore(Protocol):
    """Approvals that outlive this process and are shared with other replicas.

    Every call raises Unavailable when the store does not answer.
    """

    async def create(self, key: OperationKey, record: ApprovalRecord, deadline: Deadline) -> bool:
        """Keep the first record of an operation; return whether this is it."""
        ...

    async def get(self, key: OperationKey, deadline: Deadline) -> StoredApproval | None:
        """Return the record of an operation, or None."""
        ...

    async def replace(
        self, key: OperationKey, record: ApprovalRecord, revision: int, deadline: Deadline
    ) -> bool:
        """Write `record` if the stored one is still at `revision`; return whether it was."""
        ...

    async def under(self, code: str, deadline: Deadline) -> StoredApproval | None:
        """Return the record with this code, or None."""
        ...

    async def of_user(
        self, tenant: str, user: str, after_ms: int, deadline: Deadline
    ) -> list[ApprovalRecord]:
        """Return the user's records that expire after Unix time `after_ms`."""
        ...
