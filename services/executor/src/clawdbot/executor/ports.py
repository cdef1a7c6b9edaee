"""What the executor needs of the world."""

from __future__ import annotations

from typing import Protocol

from clawdbot.executor.domain.capabilities import Capabilities
from clawdbot.executor.domain.plan import Plan
from clawdbot.executor.domain.result import Result
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.executor import AuditRecord
from clawdbot.schema.ids import Tenant


class Sandbox(Protocol):
    """Where plans are run."""

    @property
    def capabilities(self) -> Capabilities:
        """What it was seen to do; not usable means that it runs nothing."""
        ...

    async def run(self, job: str, plan: Plan, at_most_s: float) -> Result:
        """Run `plan` and return its end.

        When this returns or raises, no process of the job is left; being cancelled kills it.

        Args:
            job: by which it can be cancelled; not in use by another.
            plan: what to run.
            at_most_s: seconds of wall time, when that is less than the profile's.

        Raises:
            Unavailable: there is no working sandbox, or the job could not be started.
            Overloaded: it cannot take another job now.
        """
        ...

    def cancel(self, job: str) -> bool:
        """Kill a running job, whose end is then `CANCELLED`; return whether there was one."""
        ...


class AuditLog(Protocol):
    """The record of what was about to be done and what came of it; it can only grow."""

    async def record(self, tenant: Tenant, record: AuditRecord, deadline: Deadline) -> bool:
        """Keep `record`; return once it is safe, and whether it is the first of its kind.

        There is one record for each event of a user's operation; a second is not kept.

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
