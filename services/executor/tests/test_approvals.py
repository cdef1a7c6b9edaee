"""Questions to a person: asked once, answered by whom they concern, used by the plan they name."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from clawdbot.executor.adapters.instruction_set import load
from clawdbot.executor.adapters.recording import (
    InMemoryApprovals,
    InMemoryAuditLog,
    RecordingSandbox,
)
from clawdbot.executor.domain.approval import CODE_CHARS, new_code
from clawdbot.executor.domain.wrong_codes import ALLOWED, USERS, WINDOW_S, WrongCodes
from clawdbot.executor.handlers.approvals import Approvals, Terms
from clawdbot.executor.handlers.executor import Executor, Limits
from clawdbot.schema.controls import ControlKind, ControlWord, control_of, said
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import (
    ApprovalDenied,
    ApprovalExpired,
    ApprovalRequired,
    Conflict,
    Forbidden,
    NotFound,
    Unavailable,
)
from clawdbot.schema.executor import (
    Approval,
    ApprovalsRequest,
    ApprovalState,
    AuditEvent,
    DecideRequest,
    Decision,
    Outcome,
    PlanReply,
    PlanRequest,
    RunReply,
    RunRequest,
)
from clawdbot.schema.ids import Channel, ConversationId, Tenant
from clawdbot.schema.principal import Principal, Scope
from clawdbot.schema.rpc import Call

ALICE = Principal(
    tenant=Tenant("acme"),
    user="alice",
    scopes=frozenset({Scope.CHAT}),
    conversation_id=ConversationId("c1"),
    channel=Channel("webhook"),
)
BOB = ALICE.model_copy(update={"user": "bob"})
STRANGER = ALICE.model_copy(update={"tenant": Tenant("other")})
SNIPPET = "python.snippet"
TERMS = Terms()


def call(principal: Principal) -> Call:
    return Call(Deadline.after(30), principal)


def answering(principal: Principal) -> Call:
    return call(principal.model_copy(update={"scopes": frozenset({Scope.APPROVE})}))


@dataclass
class Replica:
    """One executor; several may share store, log and clock."""

    store: InMemoryApprovals = field(default_factory=InMemoryApprovals)
    audit: InMemoryAuditLog = field(default_factory=InMemoryAuditLog)
    sandbox: RecordingSandbox = field(default_factory=RecordingSandbox)
    now: list[float] = field(default_factory=lambda: [1_000_000.0])

    def __post_init__(self) -> None:
        self.approvals = Approvals(self.store, self.audit, TERMS, now=lambda: self.now[0])
        self.executor = Executor(load(), self.sandbox, self.audit, self.approvals, Limits())

    def beside(self) -> Replica:
        return Replica(self.store, self.audit, self.sandbox, self.now)

    async def plan(
        self, operation: str = "op-1", code: str = "print(1)", who: Principal = ALICE
    ) -> PlanReply:
        request = PlanRequest(operation_id=operation, instruction=SNIPPET, arguments={"code": code})
        return await self.executor.plan(request, call(who))

    async def asked(self, operation: str = "op-1") -> Approval:
        approval = (await self.plan(operation)).approval
        assert approval is not None
        return approval

    async def decide(
        self, code: str, decision: Decision = Decision.APPROVE, who: Principal = ALICE
    ) -> Approval:
        request = DecideRequest(code=code, decision=decision)
        return (await self.approvals.decide(request, answering(who))).approval

    async def run(self, approval: Approval, who: Principal = ALICE) -> RunReply:
        request = RunRequest(
            operation_id=approval.operation_id,
            plan_hash=approval.plan_hash,
            instruction=approval.instruction,
            arguments=approval.arguments,
        )
        return await self.executor.run(request, call(who))

    def events(self) -> list[AuditEvent]:
        return [record.event for record in self.audit.records]


@pytest.fixture
def replica() -> Replica:
    return Replica()


async def test_a_person_is_asked_about_exactly_what_would_be_run(replica: Replica) -> None:
    plan = await replica.plan(code="print('你好')")

    assert plan.needs_approval
    assert plan.approval is not None
    assert plan.approval.rendered == plan.rendered
    assert "print('你好')" in plan.rendered
    assert (plan.approval.state, plan.approval.plan_hash) == (ApprovalState.PENDING, plan.plan_hash)
    assert plan.approval.expires_at_ms == 1_000_120_000
    assert replica.sandbox.plans == []


async def test_planned_again_the_same_question_stands_on_every_replica(replica: Replica) -> None:
    first = await replica.asked()

    assert await replica.asked() == first
    assert await replica.beside().asked() == first


async def test_another_plan_under_the_same_operation_is_a_conflict(replica: Replica) -> None:
    await replica.plan()

    with pytest.raises(Conflict):
        await replica.plan(code="print(2)")


async def test_an_approved_plan_is_run_once_and_everything_is_on_record(replica: Replica) -> None:
    await replica.decide((await replica.asked()).code)

    first = await replica.run(await replica.asked())
    again = await replica.run(await replica.asked())
    elsewhere = await replica.beside().run(await replica.asked())

    assert (first.outcome, again) == (Outcome.FINISHED, first)
    assert elsewhere.outcome is Outcome.FINISHED
    assert len(replica.sandbox.plans) == 1
    assert replica.events() == [AuditEvent.APPROVED, AuditEvent.STARTED, AuditEvent.FINISHED]
    assert (await replica.asked()).state is ApprovalState.USED


async def test_it_can_be_answered_and_run_from_another_conversation(replica: Replica) -> None:
    asked = await replica.asked()
    elsewhere = ALICE.model_copy(
        update={"conversation_id": ConversationId("c2"), "channel": Channel("api")}
    )

    await replica.decide(asked.code, who=elsewhere)
    reply = await replica.run(asked, who=elsewhere)

    assert reply.outcome is Outcome.FINISHED
    assert replica.sandbox.plans[0].hash == asked.plan_hash


async def test_nothing_runs_before_an_answer(replica: Replica) -> None:
    with pytest.raises(ApprovalRequired):
        await replica.run(await replica.asked())

    assert replica.sandbox.plans == []
    assert replica.events() == [AuditEvent.REFUSED]


async def test_nothing_runs_after_a_denial(replica: Replica) -> None:
    asked = await replica.asked()

    denied = await replica.decide(asked.code, Decision.DENY)
    with pytest.raises(ApprovalDenied):
        await replica.run(asked)
    with pytest.raises(ApprovalDenied):
        await replica.decide(asked.code)

    assert denied.state is ApprovalState.DENIED
    assert replica.events() == [AuditEvent.DENIED, AuditEvent.REFUSED, AuditEvent.REFUSED]


async def test_nothing_runs_when_nobody_answered_in_time(replica: Replica) -> None:
    asked = await replica.asked()
    replica.now[0] += TERMS.answer.total_seconds()

    with pytest.raises(ApprovalExpired):
        await replica.decide(asked.code)
    with pytest.raises(ApprovalExpired):
        await replica.run(asked)

    assert (await replica.asked()).state is ApprovalState.EXPIRED


async def test_an_approved_plan_must_begin_in_time_but_may_end_later(replica: Replica) -> None:
    used, late = await replica.asked("op-1"), await replica.asked("op-2")
    await replica.decide(used.code)
    await replica.decide(late.code)
    await replica.run(used)
    replica.now[0] += TERMS.use.total_seconds()

    with pytest.raises(ApprovalExpired):
        await replica.run(late)
    assert (await replica.run(used)).outcome is Outcome.FINISHED


async def test_an_approval_covers_its_own_operation_alone(replica: Replica) -> None:
    first, second = await replica.asked("op-1"), await replica.asked("op-2")
    await replica.decide(first.code)

    assert first.plan_hash == second.plan_hash
    with pytest.raises(ApprovalRequired):
        await replica.run(second)


async def test_an_approval_covers_no_other_arguments(replica: Replica) -> None:
    asked = await replica.asked()
    await replica.decide(asked.code)

    with pytest.raises(Conflict):
        await replica.run(asked.model_copy(update={"arguments": {"code": "print(2)"}}))

    assert replica.sandbox.plans == []


@pytest.mark.parametrize(
    ("who", "refusal"), [(BOB, Forbidden), (STRANGER, NotFound)], ids=["user", "tenant"]
)
async def test_somebody_else_cannot_answer(
    replica: Replica, who: Principal, refusal: type[Exception]
) -> None:
    asked = await replica.asked()

    with pytest.raises(refusal):
        await replica.decide(asked.code, who=who)
    with pytest.raises(ApprovalRequired):
        await replica.run(asked, who=who)

    assert (await replica.asked()).state is ApprovalState.PENDING
    assert replica.events() == [AuditEvent.REFUSED, AuditEvent.REFUSED]


async def test_the_same_answer_twice_is_one(replica: Replica) -> None:
    asked = await replica.asked()

    first = await replica.decide(asked.code)
    again = await replica.beside().decide(asked.code)

    assert again == first
    assert replica.events() == [AuditEvent.APPROVED]


async def test_of_two_answers_at_once_the_first_counts(replica: Replica) -> None:
    asked = await replica.asked()

    async def deny_first() -> None:
        await replica.beside().decide(asked.code, Decision.DENY)

    replica.store.races = [deny_first]
    with pytest.raises(ApprovalDenied):
        await replica.decide(asked.code)

    assert (await replica.asked()).state is ApprovalState.DENIED


async def test_an_answer_that_was_not_recorded_is_recorded_when_it_comes_again(
    replica: Replica,
) -> None:
    asked = await replica.asked()
    replica.audit.errors = [Unavailable("the log is away")]
    with pytest.raises(Unavailable):
        await replica.decide(asked.code)

    await replica.decide(asked.code)

    assert replica.events() == [AuditEvent.APPROVED]


async def test_what_was_approved_cannot_be_denied_any_more(replica: Replica) -> None:
    asked = await replica.asked()
    await replica.decide(asked.code)

    with pytest.raises(Conflict):
        await replica.decide(asked.code, Decision.DENY)


async def test_who_may_only_chat_may_not_answer_or_look(replica: Replica) -> None:
    asked = await replica.asked()
    request = DecideRequest(code=asked.code, decision=Decision.APPROVE)

    with pytest.raises(Forbidden):
        await replica.approvals.decide(request, call(ALICE))
    with pytest.raises(Forbidden):
        await replica.approvals.approvals(ApprovalsRequest(), call(ALICE))


async def test_what_waits_is_listed_for_its_user_until_it_is_answered(replica: Replica) -> None:
    first, second = await replica.asked("op-1"), await replica.asked("op-2")
    await replica.decide(first.code, Decision.DENY)

    mine = await replica.approvals.approvals(ApprovalsRequest(), answering(ALICE))
    others = await replica.approvals.approvals(ApprovalsRequest(), answering(BOB))

    assert mine.approvals == (second,)
    assert others.approvals == ()


async def test_too_many_questions_at_once_are_refused_until_some_are_answered(
    replica: Replica,
) -> None:
    asked = [await replica.asked(f"op-{number}") for number in range(TERMS.waiting)]
    with pytest.raises(Conflict, match="questions wait"):
        await replica.plan("one-more")

    await replica.decide(asked[0].code, Decision.DENY)

    assert (await replica.plan("one-more")).approval is not None


async def test_a_code_is_found_however_it_is_typed(replica: Replica) -> None:
    code = (await replica.asked()).code

    approval = await replica.decide(f"{code[:5].lower()}-{code[5:].lower()}")

    assert approval.state is ApprovalState.APPROVED


async def test_whoever_guesses_is_not_listened_to_for_a_while(replica: Replica) -> None:
    asked = await replica.asked()
    for _ in range(ALLOWED):
        with pytest.raises(NotFound):
            await replica.decide("AAAAAAAAAA")

    with pytest.raises(Forbidden, match="too many wrong codes"):
        await replica.decide(asked.code)
    with pytest.raises(Forbidden, match="only who asked"):
        await replica.decide(asked.code, who=BOB)

    replica.now[0] += WINDOW_S
    with pytest.raises(ApprovalExpired):
        await replica.decide(asked.code)


def test_wrong_codes_are_forgotten_by_time_and_by_number() -> None:
    wrong = WrongCodes()
    for number in range(ALLOWED - 1):
        wrong.add(("t", "u"), float(number))
    wrong.add(("t", "u"), WINDOW_S)
    assert wrong.wait_s(("t", "u"), WINDOW_S) == 0

    for _ in range(ALLOWED):
        wrong.add(("t", "v"), 0.0)
    assert wrong.wait_s(("t", "v"), 1.0) == WINDOW_S - 1
    for number in range(USERS):
        wrong.add(("t", str(number)), 0.0)
    assert wrong.wait_s(("t", "v"), 1.0) == 0


def test_codes_differ_hold_fifty_bits_and_can_be_typed() -> None:
    codes = {new_code() for _ in range(1000)}

    assert len(codes) == 1000
    for code in codes:
        word = ControlWord(ControlKind.APPROVE, code)
        assert len(code) == CODE_CHARS
        assert control_of(said(word)) == word
    assert len({letter for code in codes for letter in code}) == 32
