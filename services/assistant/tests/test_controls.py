"""Messages that were said to the system: answered by our own sentences, and by nothing else."""

from __future__ import annotations

import pytest

from clawdbot.assistant.domain import control_wording
from clawdbot.assistant.domain.language import Language
from clawdbot.schema.controls import Control, ControlKind
from clawdbot.schema.errors import (
    ApprovalDenied,
    ApprovalExpired,
    Conflict,
    Forbidden,
    InvalidMessage,
    NotFound,
    to_wire,
)
from clawdbot.schema.executor import Approval, ApprovalState
from clawdbot.schema.messages import ReplyKind

CODE = "K7Q2M9XW4T"


def approval(state: ApprovalState) -> Approval:
    return Approval(
        code=CODE,
        plan_hash="0" * 64,
        rendered="do it",
        state=state,
        expires_at_ms=1_700_000_100_000,
    )


def denied() -> Control:
    return Control(kind=ControlKind.DENY, code=CODE, approval=approval(ApprovalState.DENIED))


async def test_a_control_word_reaches_neither_model_nor_memory(world, turns, delivery):
    await turns.handle(delivery(f"/deny {CODE}", control=denied()))

    assert world.recorder.events == ["reply", "end"]
    assert world.outbox.replies["m1", 0].content == "Denied, nothing was run."


async def test_a_control_word_is_answered_in_its_language(world, turns, delivery):
    await turns.handle(delivery(f"/拒绝 {CODE}", control=denied()))

    assert world.outbox.replies["m1", 0].content == "已拒绝，没有执行任何操作。"


async def test_a_control_word_delivered_again_is_answered_once(world, turns, delivery):
    for attempt in (1, 2):
        await turns.handle(delivery("/stop", attempt, control=Control(kind=ControlKind.STOP)))

    assert len(world.outbox.replies) == 1


async def test_what_was_not_carried_out_is_an_error_with_its_reason(world, turns, delivery):
    error = to_wire(NotFound("nothing waits for an approval under this code", field="code"))
    control = Control(kind=ControlKind.APPROVE, code=CODE, error=error)

    await turns.handle(delivery(f"/approve {CODE}", control=control))

    reply = world.outbox.replies["m1", 0]
    assert (reply.kind, reply.metadata.error) == (ReplyKind.ERROR, error)
    assert reply.content == f"Nothing waits for an answer under the code {CODE}."


async def test_a_stranger_is_told_how_to_be_let_in_whatever_they_said(world, turns, delivery):
    pair = Control(kind=ControlKind.PAIR, code="P4R1NG")

    await turns.handle(delivery("My cat is called Mimi.", control=pair))

    assert world.recorder.events == ["reply", "end"]
    assert "clawdbot senders approve P4R1NG" in world.outbox.replies["m1", 0].content


async def test_a_stranger_who_sent_a_file_only_is_told_too(world, turns, delivery):
    pair = Control(kind=ControlKind.PAIR, code="P4R1NG")

    await turns.handle(delivery("", control=pair))

    assert "P4R1NG" in world.outbox.replies["m1", 0].content


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize(
    "error", [ApprovalDenied, ApprovalExpired, Conflict, Forbidden, NotFound, InvalidMessage]
)
def test_every_refusal_has_words_that_need_no_filling_in(language, error):
    control = Control(kind=ControlKind.APPROVE, code=CODE, error=to_wire(error("a reason.")))

    text = control_wording.decided(control, language)

    assert text
    assert "{" not in text


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("state", ApprovalState)
def test_every_state_of_an_approval_has_words(language, state):
    control = Control(kind=ControlKind.APPROVE, code=CODE, approval=approval(state))

    assert control_wording.decided(control, language)
