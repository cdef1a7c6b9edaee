"""Having an instruction run: planned first, confirmed where it must be, then exactly that plan."""

from __future__ import annotations

import logging

from clawdbot.assistant.domain.instructions import Asked
from clawdbot.assistant.domain.limits import Limits
from clawdbot.assistant.domain.turn import Ran, Turn
from clawdbot.assistant.ports import Executor
from clawdbot.schema.errors import ApprovalRequired, ClawdbotError
from clawdbot.schema.executor import Approval, CancelRequest, PlanRequest, RunRequest

log = logging.getLogger(__name__)


class Runner:
    """Runs instructions on behalf of a turn."""

    def __init__(self, executor: Executor, limits: Limits) -> None:
        self._executor = executor
        self._limits = limits

    async def run(self, turn: Turn, asked: Asked) -> Ran:
        """Return what came of `asked`, or what a person has to answer first.

        Called again for the same turn it gives the same.
        """
        request = PlanRequest(
            operation_id=turn.operation_id,
            instruction=asked.instruction,
            arguments=dict(asked.arguments),
        )
        plan = await self._executor.plan(request, turn.mandate(self._limits.call_timeout_s))
        if plan.approval is not None:
            return Ran(approval=plan.approval)
        if plan.needs_approval:
            raise ApprovalRequired(f"{asked.instruction!r} has to be confirmed by a person first")
        return await self._begin(turn, RunRequest(**request.model_dump(), plan_hash=plan.plan_hash))

    async def resume(self, turn: Turn, approval: Approval) -> Ran:
        """Return what came of the plan that a person approved, run under its own operation.

        Raises:
            ApprovalExpired: it did not begin in time.
        """
        request = RunRequest(
            operation_id=approval.operation_id,
            plan_hash=approval.plan_hash,
            instruction=approval.instruction,
            arguments=approval.arguments,
        )
        return await self._begin(turn, request)

    async def cancel(self, turn: Turn) -> None:
        """End the turn's operation if it runs; what cannot be reached ends at its own limits."""
        request = CancelRequest(operation_id=turn.operation_id)
        try:
            await self._executor.cancel(request, turn.mandate(self._limits.call_timeout_s))
        except ClawdbotError as exc:
            log.warning("operation not cancelled", extra={"reason": exc.message})

    async def _begin(self, turn: Turn, request: RunRequest) -> Ran:
        mandate = turn.mandate(self._limits.run_timeout_s)
        return Ran(result=await self._executor.run(request, mandate))
