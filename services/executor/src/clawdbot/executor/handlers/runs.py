"""Runs each operation once, whatever is asked how often, and never without its intent on record."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from clawdbot.executor.domain.operation_key import OperationKey
from clawdbot.executor.domain.plan import Plan
from clawdbot.executor.domain.result import Result
from clawdbot.executor.handlers.audit_trail import AuditTrail
from clawdbot.executor.handlers.operations import Operation, Operations
from clawdbot.executor.ports import NotStarted, RunPlan, Sandbox
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, Conflict, DeadlineExceeded
from clawdbot.schema.executor import (
    AuditEvent,
    AuditRecord,
    OperationState,
    Outcome,
    RunReply,
    StatusReply,
)

log = logging.getLogger(__name__)

_REPLY_S = 0.5
"""Kept back from the caller's deadline for recording the end and answering."""


@dataclass(frozen=True)
class Errand:
    """A request to run that passed every check."""

    key: OperationKey
    plan: Plan
    trail: AuditTrail
    deadline: Deadline

    @property
    def job(self) -> str:
        """The operation's name in the sandbox."""
        return _job(self.key)

    @property
    def end(self) -> Deadline:
        """When the job must be dead, so that its end can be recorded and answered."""
        return Deadline(self.deadline.at - _REPLY_S)


class Runs:
    """What is being run and what came of the latest runs.

    Args:
        sandbox: where plans are run.
        results_bytes: what the results kept for callers that ask again may occupy.
    """

    def __init__(self, sandbox: Sandbox, results_bytes: int) -> None:
        self._sandbox = sandbox
        self._operations = Operations(results_bytes)

    async def once(self, errand: Errand) -> RunReply:
        """Run the errand's plan unless its operation ran before; return what came of it.

        Raises:
            Conflict: the operation's id belongs to another plan.
            DeadlineExceeded: too little time is left to start, or no slot became free in time.
            Unavailable: not recorded, or not started; both may be tried again.
        """
        operation = self._operations.claim(errand.key, errand.plan.hash)
        if operation.is_running:
            return await operation.outcome()
        with operation.attempt() as attempt:
            reply = await self._attempt(operation, errand)
            attempt.set_result(reply)
        return reply

    def status(self, key: OperationKey) -> StatusReply:
        """Return where an operation stands, as far as this process knows."""
        operation = self._operations.find(key)
        if operation is None:
            return StatusReply(state=OperationState.UNKNOWN)
        if operation.is_running:
            return StatusReply(state=OperationState.RUNNING)
        state = OperationState.UNKNOWN if operation.reply is None else OperationState.DONE
        return StatusReply(state=state, result=operation.reply)

    def cancel(self, key: OperationKey) -> bool:
        """End an operation that runs or waits in this process; return whether there was one."""
        return self._sandbox.cancel(_job(key))

    async def _attempt(self, operation: Operation, errand: Errand) -> RunReply:
        reply = operation.reply
        if reply is None:
            async with self._room(errand) as run:
                earlier = await self._announce(operation, errand)
                if earlier is not None:
                    return await self._earlier(errand, earlier)
                reply = await self._execute(operation, errand, run)
        if not operation.is_concluded:
            # The result is kept before this can fail: asking again then records and returns it.
            await _conclude(operation, errand, reply)
        return reply

    @asynccontextmanager
    async def _room(self, errand: Errand) -> AsyncIterator[RunPlan]:
        """Wait for a slot while nothing is on record yet, so that being too late is no outcome."""
        async with AsyncExitStack() as stack:
            async with errand.end.guard("no slot became free in the time that is left"):
                run = await stack.enter_async_context(self._sandbox.slot(errand.job))
            yield run

    async def _announce(self, operation: Operation, errand: Errand) -> AuditRecord | None:
        """Record the intent; return the record of another process that has done so before."""
        if operation.is_announced:
            return None
        earlier = await errand.trail.started(errand.plan.hash, operation.token)
        operation.is_announced = earlier is None
        return earlier

    async def _earlier(self, errand: Errand, started: AuditRecord) -> RunReply:
        if started.plan_hash != errand.plan.hash:
            raise Conflict("the operation id belongs to another plan", field="operation_id")
        finished = await errand.trail.find(AuditEvent.FINISHED)
        outcome = Outcome.UNKNOWN if finished is None else Outcome(finished.outcome)
        log.warning("operation was started by another process", extra={"outcome": outcome})
        # The log keeps no output, so there is none to give; running again is not ours to decide.
        return _reply(errand, outcome, truncated=True)

    async def _execute(self, operation: Operation, errand: Errand, run: RunPlan) -> RunReply:
        seconds = errand.end.remaining_s()
        if seconds <= 0:
            raise DeadlineExceeded("too little time is left to run this")
        # Until the end is known it counts as unknown: no way out of here leads to a second run.
        operation.reply = reply = _reply(errand, Outcome.UNKNOWN)
        try:
            reply = _reply_of(errand, await run(errand.plan, seconds))
        except NotStarted:
            operation.reply = None
            raise
        except asyncio.CancelledError:
            operation.reply = reply = _reply(errand, Outcome.CANCELLED)
            await _conclude(operation, errand, reply)
            raise
        except (ClawdbotError, OSError):
            log.exception("operation was lost", extra={"instruction": errand.plan.instruction})
        operation.reply = reply
        extra = {"instruction": errand.plan.instruction, "outcome": reply.outcome}
        log.info("operation ended", extra=extra)
        return reply


async def _conclude(operation: Operation, errand: Errand, reply: RunReply) -> None:
    await errand.trail.finished(errand.plan.hash, reply.outcome)
    operation.is_concluded = True


def _job(key: OperationKey) -> str:
    # JSON, because the parts may hold any separator.
    return json.dumps(key)


def _reply(errand: Errand, outcome: Outcome, *, truncated: bool = False) -> RunReply:
    return RunReply(
        operation_id=errand.key.operation_id,
        plan_hash=errand.plan.hash,
        outcome=outcome,
        exit_status=None,
        stdout="",
        stderr="",
        truncated=truncated,
        duration_ms=0,
    )


def _reply_of(errand: Errand, result: Result) -> RunReply:
    return RunReply(
        operation_id=errand.key.operation_id,
        plan_hash=errand.plan.hash,
        outcome=result.outcome,
        exit_status=result.exit_status,
        stdout=result.stdout.decode(errors="replace"),
        stderr=result.stderr.decode(errors="replace"),
        truncated=result.truncated,
        duration_ms=int(result.duration_s * 1000),
    )
