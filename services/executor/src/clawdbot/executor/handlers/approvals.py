"""Approvals: asked by `plan`, answered by `decide`, used by `run`, each exactly once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from clawdbot.executor.domain.approval import ApprovalRecord, new_code
from clawdbot.executor.domain.operation_key import OperationKey
from clawdbot.executor.domain.plan import Plan
from clawdbot.executor.domain.wrong_codes import WrongCodes
from clawdbot.executor.handlers.audit_trail import AuditTrail, Subject
from clawdbot.executor.ports import ApprovalStore, AuditLog, StoredApproval
from clawdbot.schema.controls import code_of
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ApprovalRequired, Conflict, Forbidden, NotFound, Unavailable
from clawdbot.schema.executor import (
    Approval,
    ApprovalsReply,
    ApprovalsRequest,
    ApprovalState,
    AuditEvent,
    DecideReply,
    DecideRequest,
    PlanRequest,
)
from clawdbot.schema.principal import Principal, Scope
from clawdbot.schema.rpc import Call

_EVENTS = {
    ApprovalState.DENIED: AuditEvent.DENIED,
    ApprovalState.APPROVED: AuditEvent.APPROVED,
    ApprovalState.USED: AuditEvent.APPROVED,
}
_RACES = 8
"""Writes of others that one change may meet; an approval has three changes in its life."""


@dataclass(frozen=True)
class Terms:
    """How long and how many."""

    answer: timedelta = timedelta(seconds=120)
    """How long a person has to answer."""
    use: timedelta = timedelta(minutes=10)
    """How long an approved plan may take to begin: other turns of the conversation may come first,
    and its first attempt may fail."""
    waiting: int = 16
    """Questions that may wait for one user."""
    audit_timeout: timedelta = timedelta(seconds=5)


class Approvals:
    """Keeps questions to people, and their answers.

    Args:
        store: where they are kept; it decides which of two answers was first.
        audit: where answers and refusals are recorded.
        terms: how long and how many.
        now: Unix seconds.
    """

    def __init__(
        self,
        store: ApprovalStore,
        audit: AuditLog,
        terms: Terms,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._audit = audit
        self._terms = terms
        self._now = now
        self._wrong = WrongCodes()

    async def ask(self, request: PlanRequest, plan: Plan, deadline: Deadline) -> Approval:
        """Return the question about `plan`; planned again, the same one.

        Raises:
            Conflict: the operation's id belongs to another plan, or too many questions wait.
        """
        who = plan.requester
        key = OperationKey(who.tenant, who.user, request.operation_id)
        stored = await self._store.get(key, deadline)
        if stored is None:
            await self._require_room(key, deadline)
            await self._store.create(key, self._question(request, plan), deadline)
            # Another replica may have asked first: its code counts.
            stored = await self._store.get(key, deadline)
        if stored is None:
            raise Unavailable("the approval was not kept")
        if stored.record.plan_hash != plan.hash:
            raise Conflict("the operation id belongs to another plan", field="operation_id")
        return stored.record.at(self._now_ms()).shown()

    async def find(self, key: OperationKey, deadline: Deadline) -> ApprovalRecord:
        """Return the question about an operation.

        Raises:
            ApprovalRequired: nobody was asked.
        """
        stored = await self._store.get(key, deadline)
        if stored is None:
            raise ApprovalRequired("this needs a person's approval", fix="plan it first")
        return stored.record

    async def use(self, key: OperationKey, plan_hash: str, deadline: Deadline) -> None:
        """Pass when the plan was approved, which is used up then; the operation may ask again.

        Raises:
            ApprovalRequired: it was not, or another plan was.
            ApprovalDenied: a person said no.
            ApprovalExpired: nobody answered in time.
        """
        for _ in range(_RACES):
            stored = await self._store.get(key, deadline)
            if stored is None:
                raise ApprovalRequired("this needs a person's approval", fix="plan it first")
            used = stored.record.used(plan_hash, self._now_ms())
            if await self._kept(key, stored, used, deadline):
                return
        raise Unavailable("the approval changes too fast")

    async def decide(self, request: DecideRequest, call: Call) -> DecideReply:
        """Take a person's answer.

        Raises:
            Forbidden: the principal may not approve, asked for something else, or guesses.
            NotFound: nothing waits under this code.
            ApprovalExpired: they came too late.
            ApprovalDenied: it was denied before.
            Conflict: it was approved before.
        """
        principal, code = call.principal, code_of(request.code)
        stored = await self._store.under(code, call.deadline)
        if stored is not None and stored.record.tenant != principal.tenant:
            stored = None
        trail = self._trail(principal, stored)
        async with trail.refusals():
            principal.require(Scope.APPROVE)
            key = self._own(principal, stored)
            record = await self._decided(key, request, call.deadline)
        # After the change, and again whenever the same answer comes: the record is kept once.
        await trail.decided(_EVENTS[record.state], record.plan_hash)
        return DecideReply(approval=record.shown())

    async def approvals(self, _: ApprovalsRequest, call: Call) -> ApprovalsReply:
        """Return what waits for the principal's user.

        Raises:
            Forbidden: the principal may not approve.
        """
        principal = call.principal
        principal.require(Scope.APPROVE)
        waiting = await self._waiting(principal.tenant, principal.user, call.deadline)
        return ApprovalsReply(approvals=tuple(record.shown() for record in waiting))

    def _own(self, principal: Principal, stored: StoredApproval | None) -> OperationKey:
        """Return the key of what the principal's user may answer."""
        user = (principal.tenant, principal.user)
        if wait_s := self._wrong.wait_s(user, self._now()):
            raise Forbidden(f"too many wrong codes; wait {int(wait_s) + 1} s", field="code")
        if stored is None:
            self._wrong.add(user, self._now())
            raise NotFound("nothing waits for an approval under this code", field="code")
        if stored.record.user != principal.user:
            # No guess: in a group everybody sees the code.
            raise Forbidden("only who asked for it can answer", field="code")
        return OperationKey(principal.tenant, principal.user, stored.record.operation_id)

    async def _decided(
        self, key: OperationKey, request: DecideRequest, deadline: Deadline
    ) -> ApprovalRecord:
        use_ms = int(self._terms.use.total_seconds() * 1000)
        for _ in range(_RACES):
            stored = await self._store.get(key, deadline)
            if stored is None:
                raise NotFound("nothing waits for an approval under this code", field="code")
            record = stored.record.decided(request.decision, self._now_ms(), use_ms)
            if await self._kept(key, stored, record, deadline):
                return record
        raise Unavailable("the approval changes too fast")

    async def _kept(
        self, key: OperationKey, stored: StoredApproval, record: ApprovalRecord, deadline: Deadline
    ) -> bool:
        if record == stored.record:
            return True
        return await self._store.replace(key, record, stored.revision, deadline)

    async def _require_room(self, key: OperationKey, deadline: Deadline) -> None:
        waiting = await self._waiting(key.tenant, key.user, deadline)
        if len(waiting) >= self._terms.waiting:
            raise Conflict(
                f"{len(waiting)} questions wait for this user already",
                fix="answer them, or let them expire",
            )

    async def _waiting(self, tenant: str, user: str, deadline: Deadline) -> list[ApprovalRecord]:
        now_ms = self._now_ms()
        found = await self._store.of_user(tenant, user, now_ms, deadline)
        return [each for each in found if each.at(now_ms).state is ApprovalState.PENDING]

    def _question(self, request: PlanRequest, plan: Plan) -> ApprovalRecord:
        answer_ms = int(self._terms.answer.total_seconds() * 1000)
        return ApprovalRecord(
            code=new_code(),
            tenant=plan.requester.tenant,
            user=plan.requester.user,
            conversation=plan.requester.conversation,
            channel=plan.requester.channel,
            operation_id=request.operation_id,
            plan_hash=plan.hash,
            instruction=request.instruction,
            arguments=request.arguments,
            rendered=plan.rendered(),
            expires_at_ms=self._now_ms() + answer_ms,
        )

    def _trail(self, principal: Principal, stored: StoredApproval | None) -> AuditTrail:
        record = stored.record if stored else None
        operation, instruction = (record.operation_id, record.instruction) if record else ("", "")
        about = Subject(principal, operation, instruction)
        return AuditTrail(self._audit, about, self._terms.audit_timeout)

    def _now_ms(self) -> int:
        return int(self._now() * 1000)
