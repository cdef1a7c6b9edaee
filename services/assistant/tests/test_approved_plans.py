"""A plan that needs a person's word: asked, answered in a turn of its own, run once."""

from __future__ import annotations

import pytest

from clawdbot.assistant.adapters.recording import PLAN_HASH
from clawdbot.assistant.domain import control_wording
from clawdbot.assistant.domain.language import Language
from clawdbot.schema.controls import Control, ControlKind, control_of
from clawdbot.schema.errors import ApprovalExpired, Unavailable
from clawdbot.schema.executor import Approval, ApprovalState
from clawdbot.schema.ids import derived
from clawdbot.schema.messages import ReplyKind

CODE = "K7Q2M9XW4T"
PENDING = Approval(
    code=CODE,
    plan_hash=PLAN_HASH,
    rendered='python.snippet (version 1): "print(1)"',
    state=ApprovalState.PENDING,
    expires_at_ms=1_700_000_120_000,
    operation_id=derived("m1", "run"),
    instruction="python.snippet",
    arguments={"code": "print(1)"},
)
APPROVE = Control(
    kind=ControlKind.APPROVE,
    code=CODE,
    approval=PENDING.model_copy(update={"state": ApprovalState.APPROVED}),
)
ASKING = ["recall", "journal recall", "plan", "journal run", "append", "reply", "end"]
RESUMED = ["run", "journal run", "reply", "end"]


@pytest.fixture(autouse=True)
def asks(world):
    world.executor.approval = PENDING


async def test_a_plan_that_needs_approval_is_shown_and_not_run(world, turns, delivery):
    await turns.handle(delivery("/python print(1)"))

    assert world.recorder.events == ASKING
    reply = world.outbox.replies["m1", 0]
    assert reply.approval == PENDING
    assert (reply.kind, reply.metadata.instruction) == (ReplyKind.REPLY, "python.snippet")
    assert PENDING.rendered in reply.content
    assert f"within 120 s with\n/approve {CODE}\nor\n/deny {CODE}" in reply.content


@pytest.mark.parametrize("killed_at", ASKING)
async def test_asking_killed_anywhere_asks_once_and_runs_nothing(world, turns, delivery, killed_at):
    world.recorder.failures[killed_at] = Unavailable("killed")
    with pytest.raises(Unavailable):
        await turns.handle(delivery("/python print(1)"))

    await turns.handle(delivery("/python print(1)", attempt=2))

    assert list(world.outbox.replies) == [("m1", 0)]
    assert world.executor.runs == []


@pytest.mark.parametrize("language", Language)
def test_the_words_in_the_question_are_control_words(language):
    text = control_wording.question(PENDING, 1_700_000_000_000, language)

    kinds = [word.kind for line in text.splitlines() if (word := control_of(line))]
    assert kinds == [ControlKind.APPROVE, ControlKind.DENY]


async def test_an_approved_plan_is_run_as_it_was_shown_and_reported(world, turns, delivery):
    await turns.handle(delivery(f"/approve {CODE}", message_id="m2", control=APPROVE))

    (run,) = world.executor.runs
    assert (run.operation_id, run.plan_hash) == (PENDING.operation_id, PENDING.plan_hash)
    assert (run.instruction, run.arguments) == ("python.snippet", {"code": "print(1)"})
    assert world.recorder.events == RESUMED
    reply = world.outbox.replies["m2", 0]
    assert "kernel: Linux" in reply.content
    assert (reply.approval, reply.metadata.instruction) == (None, "python.snippet")


@pytest.mark.parametrize("killed_at", RESUMED)
async def test_an_approved_plan_killed_anywhere_is_run_under_one_operation(
    world, turns, delivery, killed_at
):
    message = delivery(f"/approve {CODE}", message_id="m2", control=APPROVE)
    world.recorder.failures[killed_at] = Unavailable("killed")
    with pytest.raises(Unavailable):
        await turns.handle(message)

    await turns.handle(message)

    assert {run.operation_id for run in world.executor.runs} == {PENDING.operation_id}
    assert list(world.outbox.replies) == [("m2", 0)]


async def test_a_plan_that_was_run_before_is_not_asked_for_again(world, turns, delivery):
    used = PENDING.model_copy(update={"state": ApprovalState.USED})
    control = APPROVE.model_copy(update={"approval": used})

    await turns.handle(delivery(f"/approve {CODE}", control=control))

    assert world.executor.runs == []
    assert "has been run" in world.outbox.replies["m1", 0].content


async def test_a_plan_whose_time_ran_out_before_it_began_is_told_as_expired(world, turns, delivery):
    world.recorder.failures["run"] = ApprovalExpired("not begun in time")

    await turns.handle(delivery(f"/approve {CODE}", control=APPROVE))

    reply = world.outbox.replies["m1", 0]
    assert reply.kind is ReplyKind.ERROR
    assert "expired" in reply.content
