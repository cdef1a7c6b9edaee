"""Whatever is said in whatever order to whichever replica: only what was approved runs, once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from clawdbot.executor.adapters.recording import (
    InMemoryApprovals,
    InMemoryAuditLog,
    RecordingSandbox,
)
from clawdbot.executor.domain.operation_key import OperationKey
from clawdbot.executor.domain.plan import Plan, Requester
from clawdbot.executor.domain.profile import PURE
from clawdbot.executor.handlers.approvals import Approvals, Terms
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import Rejected
from clawdbot.schema.executor import (
    Approval,
    ApprovalState,
    AuditEvent,
    DecideRequest,
    Decision,
    PlanRequest,
)
from clawdbot.schema.ids import Channel, ConversationId, Tenant
from clawdbot.schema.principal import Principal, Scope
from clawdbot.schema.rpc import Call

OPERATIONS = st.sampled_from(["op-1", "op-2"])
REPLICAS = st.integers(0, 1)
USERS = st.sampled_from(["alice", "alice", "alice", "bob"])
"""Mostly whom it concerns, or hardly anything would ever be approved."""
DECISIONS = st.sampled_from([Decision.APPROVE, Decision.APPROVE, Decision.DENY])
ENDED = {ApprovalState.DENIED, ApprovalState.EXPIRED, ApprovalState.USED}


def plan(argv: str) -> Plan:
    return Plan(
        instruction="test.command",
        instruction_version=1,
        manifest_sha256="0" * 64,
        executable_sha256="0" * 64,
        argv=(argv,),
        profile=PURE,
        requester=Requester("acme", "alice", "c1", "webhook"),
    )


class ApprovalStates(RuleBasedStateMachine):
    """Alice asks; she and Bob answer; plans are used, and time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000_000.0
        self.store = InMemoryApprovals()
        self.audit = InMemoryAuditLog()
        self.sandbox = RecordingSandbox()
        self.replicas = [
            Approvals(self.store, self.audit, Terms(), now=lambda: self.now) for _ in range(2)
        ]
        self.asked: dict[str, Approval] = {}
        self.answers: dict[str, Decision] = {}
        self.first_use: dict[str, float] = {}
        self.approved_at: dict[str, float] = {}
        self.ends: dict[str, ApprovalState] = {}

    @initialize()
    def begin(self) -> None:
        self.ask_for("op-1", 0)

    @rule(operation=OPERATIONS, replica=REPLICAS)
    def ask(self, operation: str, replica: int) -> None:
        self.ask_for(operation, replica)

    def ask_for(self, operation: str, replica: int) -> None:
        request = PlanRequest(operation_id=operation, instruction="test.command")
        asking = self.replicas[replica].ask(request, plan(operation), Deadline.after(60))
        approval = asyncio.run(asking)

        first = self.asked.setdefault(operation, approval)
        assert approval.code == first.code

    @rule(operation=OPERATIONS, replica=REPLICAS, user=USERS, decision=DECISIONS)
    def answer(self, operation: str, replica: int, user: str, decision: Decision) -> None:
        if operation not in self.asked:
            return
        request = DecideRequest(code=self.asked[operation].code, decision=decision)
        principal = Principal(
            tenant=Tenant("acme"),
            user=user,
            scopes=frozenset({Scope.APPROVE}),
            conversation_id=ConversationId("c1"),
            channel=Channel("webhook"),
        )
        call = Call(Deadline.after(60), principal)

        if passes(self.replicas[replica].decide(request, call)):
            assert user == "alice"
            assert self.answers.setdefault(operation, decision) is decision
            if decision is Decision.APPROVE:
                self.approved_at.setdefault(operation, self.now)

    @rule(operation=OPERATIONS, replica=REPLICAS, shown=st.booleans(), user=USERS)
    def use(self, operation: str, replica: int, shown: bool, user: str) -> None:
        key = OperationKey("acme", user, operation)
        digest = plan(operation if shown else "another").hash

        if passes(self.replicas[replica].use(key, digest, Deadline.after(60))):
            assert shown
            assert user == "alice"
            assert self.answers[operation] is Decision.APPROVE
            self.first_use.setdefault(operation, self.now)

    @rule(seconds=st.sampled_from([1.0, 60.0, 119.0, 601.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def answers_and_uses_came_in_time(self) -> None:
        for operation, at in self.approved_at.items():
            # Two minutes from being asked; the first answer moves the end to when it must begin.
            assert at * 1000 < self.asked[operation].expires_at_ms
        for operation, at in self.first_use.items():
            assert at < self.approved_at[operation] + Terms().use.total_seconds()

    @invariant()
    def an_end_stays(self) -> None:
        for operation in self.asked:
            key = OperationKey("acme", "alice", operation)
            stored = asyncio.run(self.store.get(key, Deadline.after(60)))
            assert stored is not None
            state = stored.record.at(int(self.now * 1000)).state
            assert self.ends.get(operation, state) is state
            if state in ENDED:
                self.ends[operation] = state

    @invariant()
    def the_log_tells_each_answer_once(self) -> None:
        events = [
            (record.operation_id, record.event)
            for record in self.audit.records
            if record.event is not AuditEvent.REFUSED
        ]

        assert len(events) == len(set(events)) == len(self.answers)


def passes(work: Coroutine[Any, Any, object]) -> bool:
    try:
        asyncio.run(work)
    except Rejected:
        return False
    return True


TestApprovalStates = pytest.mark.slow(ApprovalStates.TestCase)
TestApprovalStates.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
