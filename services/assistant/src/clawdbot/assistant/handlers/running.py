"""Having an instruction run: planned first, then exactly that plan."""

from __future__ import annotations

from clawdbot.assistant.domain.limits import Limits
from clawdbot.assistant.domain.turn import Turn
from clawdbot.assistant.ports import Executor
from clawdbot.schema.errors import ApprovalRequired
from clawdbot.schema.executor import PlanRequest, RunReply, RunRequest


class Runner:
    """Runs instructions on behalf of a turn."""

    def __init__(self, executor: Executor, limits: Limits) -> None:
        self._executor = executor
        self._limits = limits

    async def run(self, turn: Turn, instruction: str) -> RunReply:
        """Return what came of `instruction`; asked again for the same turn, the same result.

        Raises:
            ApprovalRequired: the plan needs a second confirmation.
        """
        operation = turn.id_of("run")
        plan = await self._executor.plan(
            PlanRequest(operation_id=operation, instruction=instruction),
            turn.mandate(self._limits.call_timeout_s),
        )
        if plan.needs_approval:
            raise ApprovalRequired(f"{instruction!r} has to be confirmed by a person first")
        request = RunRequest(
            operation_id=operation, plan_hash=plan.plan_hash, instruction=instruction
        )
        return await self._executor.run(request, turn.mandate(self._limits.run_timeout_s))
