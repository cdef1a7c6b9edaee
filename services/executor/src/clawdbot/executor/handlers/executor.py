"""Plan, run, status and cancel: named instructions, run once, for whom the principal names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

from clawdbot.executor.domain.instruction import Instruction
from clawdbot.executor.domain.operation_key import OperationKey
from clawdbot.executor.domain.plan import Requester, make_plan
from clawdbot.executor.handlers.approvals import Approvals
from clawdbot.executor.handlers.audit_trail import AuditTrail, Subject
from clawdbot.executor.handlers.runs import Errand, Runs
from clawdbot.executor.ports import AuditLog, Sandbox
from clawdbot.schema.errors import Conflict, NotFound, Unavailable
from clawdbot.schema.executor import (
    CancelReply,
    CancelRequest,
    PlanReply,
    PlanRequest,
    RunReply,
    RunRequest,
    StatusReply,
    StatusRequest,
)
from clawdbot.schema.principal import Principal, Scope
from clawdbot.schema.rpc import Call

_NAME_CHARACTERS = 64
_Request = PlanRequest | RunRequest | StatusRequest | CancelRequest


@dataclass(frozen=True)
class Limits:
    """How long and how much."""

    audit_timeout: timedelta = timedelta(seconds=5)
    """A record takes milliseconds; longer means that the broker is in trouble."""
    results_bytes: int = 64 * 1024 * 1024
    """Results kept for callers that ask again."""


class Executor:
    """Turns requests into plans and plans into results.

    Args:
        instructions: the instruction set, by id.
        sandbox: where plans are run.
        audit: where every run and every refusal is recorded.
        approvals: what people were asked and what they answered.
        limits: how long and how much.
    """

    def __init__(
        self,
        instructions: Mapping[str, Instruction],
        sandbox: Sandbox,
        audit: AuditLog,
        approvals: Approvals,
        limits: Limits,
    ) -> None:
        self._instructions = instructions
        self._sandbox = sandbox
        self._audit = audit
        self._approvals = approvals
        self._limits = limits
        self._runs = Runs(sandbox, limits.results_bytes)

    async def plan(self, request: PlanRequest, call: Call) -> PlanReply:
        """Return what would be run, exactly; a person is asked when they have to agree.

        Raises:
            Conflict: the id belongs to another plan, or the user has too much to answer already.
            InvalidMessage: the arguments are refused.
            NotFound: there is no such instruction.
            Forbidden: the principal may not use instructions.
            Unavailable: no working sandbox, or one that lacks what the instruction requires.
        """
        async with self._admitted(request, call):
            instruction = self._instruction(request)
            plan = make_plan(instruction, request.arguments, _requester(call.principal))
            approval = None
            if instruction.needs_approval:
                approval = await self._approvals.ask(request, plan, call.deadline)
        return PlanReply(
            operation_id=request.operation_id,
            plan_hash=plan.hash,
            risk=instruction.risk,
            needs_approval=instruction.needs_approval,
            rendered=plan.rendered(),
            approval=approval,
        )

    async def run(self, request: RunRequest, call: Call) -> RunReply:
        """Run a planned operation, or return what an earlier request for it came to.

        Raises:
            Conflict: the plan is not the one with this hash, or the id belongs to another plan.
            ApprovalRequired: a person has to agree, and did not so far.
            ApprovalDenied: they did not agree.
            ApprovalExpired: they did not answer in time.
            DeadlineExceeded: too little time is left to start.
            InvalidMessage: as for `plan`, and so on down its list.
        """
        async with self._admitted(request, call) as trail:
            instruction, key = self._instruction(request), _key(call.principal, request)
            requester = _requester(call.principal)
            if instruction.needs_approval:
                # Answered from another conversation, it stays the plan of the one that asked.
                asked = await self._approvals.find(key, call.deadline)
                requester = replace(
                    requester, conversation=asked.conversation, channel=asked.channel
                )
            plan = make_plan(instruction, request.arguments, requester)
            if plan.hash != request.plan_hash:
                raise Conflict("this is not the plan with that hash", field="plan_hash")
            if instruction.needs_approval:
                await self._approvals.use(key, plan.hash, call.deadline)
            errand = Errand(key, plan, trail, call.deadline)
            return await self._runs.once(errand)

    async def status(self, request: StatusRequest, call: Call) -> StatusReply:
        """Return where the operation stands, as far as this process knows."""
        async with self._admitted(request, call):
            return self._runs.status(_key(call.principal, request))

    async def cancel(self, request: CancelRequest, call: Call) -> CancelReply:
        """End the operation if it runs or waits here; its result is then `CANCELLED`."""
        async with self._admitted(request, call):
            return CancelReply(cancelled=self._runs.cancel(_key(call.principal, request)))

    @asynccontextmanager
    async def _admitted(self, request: _Request, call: Call) -> AsyncIterator[AuditTrail]:
        """Let in who may use instructions, and record every refusal, this one included."""
        require_working(self._sandbox)
        named = request.instruction if isinstance(request, PlanRequest | RunRequest) else ""
        about = Subject(call.principal, request.operation_id, named[:_NAME_CHARACTERS])
        trail = AuditTrail(self._audit, about, self._limits.audit_timeout)
        async with trail.refusals():
            call.principal.require(Scope.CHAT)
            yield trail

    def _instruction(self, request: PlanRequest | RunRequest) -> Instruction:
        instruction = self._instructions.get(request.instruction)
        if instruction is None:
            raise NotFound("there is no such instruction", field="instruction")
        if missing := self._sandbox.capabilities.missing(instruction.requires):
            lacking = ", ".join(sorted(missing))
            raise Unavailable(f"the sandbox of this host does not enforce {lacking}")
        return instruction


def require_working(sandbox: Sandbox) -> None:
    """Pass when there is a sandbox to run things in.

    Raises:
        Unavailable: there is none; the message says why.
    """
    if not sandbox.capabilities.usable:
        raise Unavailable(f"no working sandbox: {sandbox.capabilities.reason}")


def _key(principal: Principal, request: _Request) -> OperationKey:
    return OperationKey(principal.tenant, principal.user, request.operation_id)


def _requester(principal: Principal) -> Requester:
    return Requester(
        tenant=principal.tenant,
        user=principal.user,
        conversation=principal.conversation_id,
        channel=principal.channel,
    )
