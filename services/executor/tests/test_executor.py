"""Plan, run, status and cancel, with recording fakes at the ports."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from clawdbot.executor.adapters.instruction_set import load
from clawdbot.executor.adapters.recording import (
    WORKING,
    InMemoryApprovals,
    InMemoryAuditLog,
    RecordingSandbox,
)
from clawdbot.executor.domain.capabilities import Capabilities, Guarantee, Level
from clawdbot.executor.domain.instruction import Confirm
from clawdbot.executor.domain.result import Result
from clawdbot.executor.handlers.approvals import Approvals, Terms
from clawdbot.executor.handlers.executor import Executor, Limits
from clawdbot.executor.ports import NotStarted
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import (
    ApprovalRequired,
    Conflict,
    DeadlineExceeded,
    Forbidden,
    InvalidMessage,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from clawdbot.schema.executor import (
    AuditEvent,
    CancelRequest,
    OperationState,
    Outcome,
    PlanRequest,
    Risk,
    RunRequest,
    StatusRequest,
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
INSTRUCTION = load()["system.info"]


class Setting:
    """An executor with its fakes and the order in which they were used."""

    def __init__(self) -> None:
        self.journal: list[str] = []
        self.sandbox = RecordingSandbox(self.journal)
        self.audit = InMemoryAuditLog(self.journal)
        self.approvals = InMemoryApprovals()
        self.instructions = {INSTRUCTION.id: INSTRUCTION}
        self.executor = self.restarted()

    def restarted(self, limits: Limits | None = None) -> Executor:
        """Return an executor that remembers nothing, beside the same sandbox and log."""
        approvals = Approvals(self.approvals, self.audit, Terms())
        limits = limits or Limits()
        return Executor(self.instructions, self.sandbox, self.audit, approvals, limits)

    async def plan(self, operation: str = "op-1", topic: str = "os") -> RunRequest:
        """Return the request that runs the plan of this operation."""
        asked = PlanRequest(
            operation_id=operation, instruction=INSTRUCTION.id, arguments={"topic": topic}
        )
        plan = await self.executor.plan(asked, call())
        return RunRequest(
            operation_id=operation,
            plan_hash=plan.plan_hash,
            instruction=INSTRUCTION.id,
            arguments={"topic": topic},
        )

    def events(self) -> list[AuditEvent]:
        """Return what the audit log holds, in order."""
        return [record.event for record in self.audit.records]


@pytest.fixture
def setting() -> Setting:
    return Setting()


def call(principal: Principal | None = ALICE, seconds: float = 30.0) -> Call:
    return Call(Deadline.after(seconds), principal)


async def test_plan_shows_what_would_be_run_and_runs_nothing(setting: Setting) -> None:
    request = PlanRequest(
        operation_id="op-1", instruction="system.info", arguments={"topic": "uptime"}
    )

    reply = await setting.executor.plan(request, call())

    assert reply.risk is Risk.READS_OWN_INPUT
    assert not reply.needs_approval
    assert '"--max-count=3" "--"' in reply.rendered
    assert len(reply.plan_hash) == 64
    assert setting.sandbox.plans == []


async def test_plan_of_another_user_has_another_hash(setting: Setting) -> None:
    request = PlanRequest(operation_id="op-1", instruction="system.info")

    hashes = {
        (await setting.executor.plan(request, call(principal))).plan_hash
        for principal in (ALICE, BOB, ALICE.model_copy(update={"conversation_id": "c2"}))
    }

    assert len(hashes) == 3


async def test_planned_operation_is_run_and_answered(setting: Setting) -> None:
    request = await setting.plan()

    reply = await setting.executor.run(request, call())

    assert reply.outcome is Outcome.FINISHED
    assert (reply.stdout, reply.stderr, reply.exit_status) == ("out\ufffd", "err", 0)
    assert reply.duration_ms == 250
    assert setting.sandbox.plans[0].hash == request.plan_hash


async def test_intent_is_on_record_before_the_run_and_the_end_after(setting: Setting) -> None:
    await setting.executor.run(await setting.plan(), call())

    assert setting.journal == ["started", "run", "finished"]
    started, finished = setting.audit.records
    assert (started.user, started.instruction, started.conversation_id) == (
        "alice",
        "system.info",
        "c1",
    )
    assert finished.outcome == "finished"
    assert started.plan_hash == finished.plan_hash == setting.sandbox.plans[0].hash


async def test_nothing_runs_when_the_intent_cannot_be_recorded(setting: Setting) -> None:
    request = await setting.plan()
    setting.audit.errors = [Unavailable("no broker")]

    with pytest.raises(Unavailable, match="no broker"):
        await setting.executor.run(request, call())

    assert setting.sandbox.plans == []


async def test_result_survives_an_end_that_could_not_be_recorded(setting: Setting) -> None:
    request = await setting.plan()
    setting.sandbox.gate = asyncio.Event()
    running = asyncio.ensure_future(setting.executor.run(request, call()))
    await setting.sandbox.started.wait()
    setting.audit.errors = [Unavailable("no broker")]
    setting.sandbox.gate.set()
    with pytest.raises(Unavailable):
        await running

    again = await setting.executor.run(request, call())

    assert again.outcome is Outcome.FINISHED
    assert len(setting.sandbox.plans) == 1
    assert setting.events() == [AuditEvent.STARTED, AuditEvent.FINISHED]


async def test_repeated_request_gets_the_recorded_result(setting: Setting) -> None:
    request = await setting.plan()
    first = await setting.executor.run(request, call())

    second = await setting.executor.run(request, call())

    assert second == first
    assert len(setting.sandbox.plans) == 1
    assert setting.events() == [AuditEvent.STARTED, AuditEvent.FINISHED]


async def test_request_repeated_meanwhile_waits_for_the_same_run(setting: Setting) -> None:
    request = await setting.plan()
    setting.sandbox.gate = asyncio.Event()
    first = asyncio.ensure_future(setting.executor.run(request, call()))
    await setting.sandbox.started.wait()
    second = asyncio.ensure_future(setting.executor.run(request, call()))
    await asyncio.sleep(0)

    setting.sandbox.gate.set()

    assert await first == await second
    assert len(setting.sandbox.plans) == 1


async def test_same_id_with_another_plan_is_a_conflict(setting: Setting) -> None:
    await setting.executor.run(await setting.plan(topic="os"), call())
    other = await setting.plan(topic="cpu")

    with pytest.raises(Conflict):
        await setting.executor.run(other, call())

    assert len(setting.sandbox.plans) == 1


async def test_hash_of_another_plan_is_a_conflict(setting: Setting) -> None:
    request = await setting.plan()

    for changed in (
        request.model_copy(update={"plan_hash": "0" * 64}),
        request.model_copy(update={"arguments": {"topic": "cpu"}}),
    ):
        with pytest.raises(Conflict, match="not the plan"):
            await setting.executor.run(changed, call())

    assert setting.sandbox.plans == []


async def test_plan_of_one_user_cannot_be_run_by_another(setting: Setting) -> None:
    request = await setting.plan()

    with pytest.raises(Conflict):
        await setting.executor.run(request, call(BOB))

    assert setting.sandbox.plans == []


async def test_operation_started_by_a_dead_process_is_never_run_again(setting: Setting) -> None:
    request = await setting.plan()
    setting.sandbox.gate = asyncio.Event()
    running = asyncio.ensure_future(setting.executor.run(request, call()))
    await setting.sandbox.started.wait()

    reply = await setting.restarted().run(request, call())

    assert reply.outcome is Outcome.UNKNOWN
    assert len(setting.sandbox.plans) == 1
    setting.sandbox.gate.set()
    await running


async def test_operation_finished_by_another_process_tells_its_outcome(setting: Setting) -> None:
    request = await setting.plan()
    await setting.executor.run(request, call())

    reply = await setting.restarted().run(request, call())

    assert (reply.outcome, reply.stdout, reply.truncated) == (Outcome.FINISHED, "", True)
    assert len(setting.sandbox.plans) == 1


async def test_conflict_is_seen_across_processes(setting: Setting) -> None:
    await setting.executor.run(await setting.plan(topic="os"), call())
    other = await setting.plan(topic="cpu")

    with pytest.raises(Conflict):
        await setting.restarted().run(other, call())


async def test_job_that_could_not_be_started_may_be_tried_again(setting: Setting) -> None:
    request = await setting.plan()
    setting.sandbox.error = NotStarted("no cgroup")
    with pytest.raises(NotStarted):
        await setting.executor.run(request, call())

    reply = await setting.executor.run(request, call())

    assert reply.outcome is Outcome.FINISHED
    assert setting.events() == [AuditEvent.STARTED, AuditEvent.FINISHED]


@pytest.mark.parametrize("error", [Unavailable("the launcher is gone"), OSError("no descriptor")])
async def test_job_that_was_lost_after_its_start_is_unknown_and_never_run_again(
    setting: Setting, error: Unavailable | OSError
) -> None:
    request = await setting.plan()
    setting.sandbox.error = error

    first = await setting.executor.run(request, call())
    second = await setting.executor.run(request, call())

    assert first.outcome is second.outcome is Outcome.UNKNOWN
    assert len(setting.sandbox.plans) == 1
    assert setting.events() == [AuditEvent.STARTED, AuditEvent.FINISHED]
    assert setting.audit.records[-1].outcome == "unknown"


async def test_job_that_a_bug_interrupts_is_unknown_and_never_run_again(setting: Setting) -> None:
    request = await setting.plan()
    setting.sandbox.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await setting.executor.run(request, call())

    again = await setting.executor.run(request, call())

    assert again.outcome is Outcome.UNKNOWN
    assert len(setting.sandbox.plans) == 1


async def test_intent_whose_confirmation_was_lost_is_recognised_as_ours(setting: Setting) -> None:
    request = await setting.plan()
    setting.audit.errors, setting.audit.are_errors_late = [Unavailable("no answer")], True
    with pytest.raises(Unavailable):
        await setting.executor.run(request, call())
    assert setting.events() == [AuditEvent.STARTED]

    reply = await setting.executor.run(request, call())

    assert reply.outcome is Outcome.FINISHED
    assert len(setting.sandbox.plans) == 1


async def test_run_for_which_no_slot_becomes_free_leaves_nothing_and_may_be_tried_again(
    setting: Setting,
) -> None:
    request = await setting.plan()
    setting.sandbox.room.clear()
    with pytest.raises(DeadlineExceeded, match="no slot"):
        await setting.executor.run(request, call(seconds=0.6))
    assert setting.events() == []
    setting.sandbox.room.set()

    reply = await setting.executor.run(request, call())

    assert reply.outcome is Outcome.FINISHED


async def test_caller_that_leaves_while_waiting_for_a_slot_leaves_nothing(setting: Setting) -> None:
    request = await setting.plan()
    setting.sandbox.room.clear()
    waiting = asyncio.ensure_future(setting.executor.run(request, call()))
    await setting.sandbox.waiting.wait()

    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert setting.events() == []
    setting.sandbox.room.set()
    assert (await setting.executor.run(request, call())).outcome is Outcome.FINISHED


async def test_run_whose_caller_is_gone_is_recorded_as_cancelled(setting: Setting) -> None:
    request = await setting.plan()
    setting.sandbox.gate = asyncio.Event()
    running = asyncio.ensure_future(setting.executor.run(request, call()))
    await setting.sandbox.started.wait()

    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
    assert setting.audit.records[-1].outcome == "cancelled"
    assert (await setting.executor.run(request, call())).outcome is Outcome.CANCELLED
    assert len(setting.sandbox.plans) == 1


async def test_cancelling_ends_a_running_operation(setting: Setting) -> None:
    request = await setting.plan()
    setting.sandbox.gate = asyncio.Event()
    running = asyncio.ensure_future(setting.executor.run(request, call()))
    await setting.sandbox.started.wait()
    by_id = CancelRequest(operation_id="op-1")

    stranger = await setting.executor.cancel(by_id, call(BOB))
    owner = await setting.executor.cancel(by_id, call())

    assert (stranger.cancelled, owner.cancelled) == (False, True)
    assert (await running).outcome is Outcome.CANCELLED


async def test_status_follows_the_operation(setting: Setting) -> None:
    request = await setting.plan()
    by_id = StatusRequest(operation_id="op-1")
    setting.sandbox.gate = asyncio.Event()

    before = await setting.executor.status(by_id, call())
    running = asyncio.ensure_future(setting.executor.run(request, call()))
    await setting.sandbox.started.wait()
    during = await setting.executor.status(by_id, call())
    setting.sandbox.gate.set()
    result = await running
    after = await setting.executor.status(by_id, call())

    assert (before.state, during.state) == (OperationState.UNKNOWN, OperationState.RUNNING)
    assert (after.state, after.result) == (OperationState.DONE, result)
    stranger = await setting.executor.status(by_id, call(BOB))
    assert (stranger.state, stranger.result) == (OperationState.UNKNOWN, None)


async def test_job_gets_less_than_the_caller_has_left(setting: Setting) -> None:
    await setting.executor.run(await setting.plan(), call(seconds=4.0))

    assert 3.0 < setting.sandbox.limits_s[0] <= 3.5


async def test_run_without_time_left_is_refused_unstarted(setting: Setting) -> None:
    request = await setting.plan()

    with pytest.raises(DeadlineExceeded):
        await setting.executor.run(request, call(seconds=0.1))

    assert setting.sandbox.plans == []
    assert setting.events() == []


@pytest.mark.parametrize(
    ("instruction", "arguments", "error"),
    [
        ("system.shell", {}, NotFound),
        ("system.info", {"topic": "/etc/passwd"}, InvalidMessage),
        ("system.info", {"topic": "all", "--flag": True}, InvalidMessage),
    ],
)
async def test_refused_request_is_recorded_without_its_arguments(
    setting: Setting, instruction: str, arguments: dict[str, bool | str], error: type[Exception]
) -> None:
    request = PlanRequest(operation_id="op-1", instruction=instruction, arguments=arguments)

    with pytest.raises(error):
        await setting.executor.plan(request, call())

    (refused,) = setting.audit.records
    assert refused.event is AuditEvent.REFUSED
    assert "passwd" not in refused.reason
    assert refused.user == "alice"


@pytest.mark.parametrize(
    "change",
    [
        {"risk": Risk.NETWORK_OR_USER_DATA},
        {"risk": Risk.ARBITRARY_OR_IRREVERSIBLE},
        {"confirm": Confirm.ALWAYS},
    ],
)
async def test_instruction_that_needs_approval_is_not_run_without(
    setting: Setting, change: dict[str, Risk | Confirm]
) -> None:
    setting.instructions[INSTRUCTION.id] = replace(INSTRUCTION, **change)  # type: ignore[arg-type]  # one of two enums
    request = await setting.plan()

    with pytest.raises(ApprovalRequired):
        await setting.executor.run(request, call())
    with pytest.raises(ApprovalRequired):
        await setting.executor.run(request.model_copy(update={"operation_id": "op-2"}), call())

    assert setting.sandbox.plans == []


async def test_guarantee_that_is_only_best_effort_does_not_satisfy(setting: Setting) -> None:
    levels = {**WORKING.levels, Guarantee.NO_NETWORK: Level.BEST_EFFORT}
    setting.sandbox.capabilities = Capabilities("recording", usable=True, levels=levels)

    with pytest.raises(Unavailable, match="no_network"):
        await setting.plan()


async def test_without_a_sandbox_every_call_is_refused_with_the_reason(setting: Setting) -> None:
    request = await setting.plan()
    setting.sandbox.capabilities = Capabilities("recording", usable=False, reason="no bubblewrap")
    executor = setting.executor

    for refused in (
        executor.plan(PlanRequest(operation_id="op-2", instruction="system.info"), call()),
        executor.run(request, call()),
        executor.status(StatusRequest(operation_id="op-1"), call()),
        executor.cancel(CancelRequest(operation_id="op-1"), call()),
    ):
        with pytest.raises(Unavailable, match="no working sandbox: no bubblewrap"):
            await refused


async def test_nobody_and_those_without_the_scope_are_refused(setting: Setting) -> None:
    request = PlanRequest(operation_id="op-1", instruction="system.info")
    silent = ALICE.model_copy(update={"scopes": frozenset({Scope.APPROVE})})

    with pytest.raises(Unauthenticated):
        await setting.executor.plan(request, call(None))
    with pytest.raises(Forbidden):
        await setting.executor.plan(request, call(silent))

    (refused,) = setting.audit.records
    assert (refused.event, refused.operation_id) == (AuditEvent.REFUSED, "op-1")
    assert refused.reason.startswith("forbidden")


async def test_every_refusal_of_one_operation_is_recorded(setting: Setting) -> None:
    request = await setting.plan()
    forged = request.model_copy(update={"plan_hash": "0" * 64})
    unknown = request.model_copy(update={"instruction": "no.such"})

    for refused in (forged, forged, unknown):
        with pytest.raises((Conflict, NotFound)):
            await setting.executor.run(refused, call())

    reasons = [record.reason.partition(":")[0] for record in setting.audit.records]
    assert reasons == ["conflict", "conflict", "not_found"]


async def test_kept_results_stay_within_their_budget(setting: Setting) -> None:
    setting.sandbox.result = Result(Outcome.FINISHED, 0, b"x" * 10_000, b"", False, 0.1)
    setting.executor = setting.restarted(Limits(results_bytes=35_000))

    for number in range(6):
        await setting.executor.run(await setting.plan(f"op-{number}"), call())

    states = [
        (await setting.executor.status(StatusRequest(operation_id=f"op-{n}"), call())).state
        for n in range(6)
    ]
    kept = [state is OperationState.DONE for state in states]
    assert kept == sorted(kept)
    assert 2 <= sum(kept) <= 4


async def test_slow_audit_log_is_given_up_in_bounded_time(setting: Setting) -> None:
    setting.executor = setting.restarted(Limits(audit_timeout=timedelta(0)))
    request = await setting.plan()

    with pytest.raises(DeadlineExceeded):
        await setting.executor.run(request, call())

    assert setting.sandbox.plans == []


async def test_id_with_a_separator_reaches_nobody_elses_operation(setting: Setting) -> None:
    request = await setting.plan("x/y")
    setting.sandbox.gate = asyncio.Event()
    running = asyncio.ensure_future(setting.executor.run(request, call()))
    await setting.sandbox.started.wait()
    neighbour = ALICE.model_copy(update={"user": "alice/x"})

    reply = await setting.executor.cancel(CancelRequest(operation_id="y"), call(neighbour))

    assert not reply.cancelled
    setting.sandbox.gate.set()
    assert (await running).outcome is Outcome.FINISHED
