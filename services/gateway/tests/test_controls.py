"""Control words are carried out once, for who said them, before they are kept."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from clawdbot.gateway.domain.messages import (
    API,
    DELEGABLE,
    WEBHOOK,
    WEBHOOK_SCOPES,
    IdReused,
    Submission,
)
from clawdbot.gateway.handlers.controls import Controls
from clawdbot.gateway.handlers.messages import Accept, Patience
from clawdbot.gateway.ports import RecordingDecisions, RecordingInbox, RecordingStopSignals
from clawdbot.schema.controls import Control, ControlKind
from clawdbot.schema.errors import DeadlineExceeded, Internal, NotFound, Overloaded, Unavailable
from clawdbot.schema.executor import ApprovalState, Decision
from clawdbot.schema.ids import IdKey, Tenant
from clawdbot.schema.messages import Attachment, InboundMessage
from clawdbot.schema.principal import Scope

CODE = "K7Q2M9XW4T"
APPROVE = Submission(
    tenant=Tenant("default"),
    channel=WEBHOOK,
    platform="slack",
    sender_id="u1",
    scopes=WEBHOOK_SCOPES,
    content=f"/approve {CODE}",
    place=("slack", "c1", ""),
    own_id="m1",
    fallback_id="hash",
    timestamp=5,
)
STOP = replace(APPROVE, content="／停止")


@dataclass
class Edge:
    """The one place where messages are kept, with control words carried out before."""

    inbox: RecordingInbox = field(default_factory=RecordingInbox)
    decisions: RecordingDecisions = field(default_factory=RecordingDecisions)
    signals: RecordingStopSignals = field(default_factory=RecordingStopSignals)

    async def keep(self, submission: Submission) -> InboundMessage:
        controls = Controls(self.inbox, self.decisions, self.signals)
        ids = IdKey(b"0123456789abcdef")
        accept = Accept(self.inbox, ids, Patience(), screens=[controls])
        return (await accept(submission)).message


@pytest.fixture
def edge() -> Edge:
    return Edge()


async def test_an_approval_is_answered_with_a_scope_that_does_not_travel_on(edge: Edge) -> None:
    message = await edge.keep(APPROVE)

    ((principal, code, decision),) = edge.decisions.asked
    assert (code, decision, principal.scopes) == (CODE, Decision.APPROVE, {Scope.APPROVE})
    assert edge.inbox.principals[message.message_id].scopes == DELEGABLE
    assert message.control is not None
    assert message.control.approval is not None
    assert message.control.approval.state is ApprovalState.APPROVED


async def test_a_denial_is_passed_on_as_one(edge: Edge) -> None:
    message = await edge.keep(replace(APPROVE, content=f"/拒绝 {CODE}"))

    assert edge.decisions.asked[0][2] is Decision.DENY
    assert message.control is not None
    assert message.control.kind is ControlKind.DENY


async def test_what_the_executor_rejects_is_kept_with_its_reason(edge: Edge) -> None:
    edge.decisions.failure = NotFound("nothing waits")

    message = await edge.keep(APPROVE)

    assert message.control is not None
    assert message.control.error is not None
    assert message.control.error.code == "not_found"


@pytest.mark.parametrize(
    "failure",
    [Unavailable("away"), Overloaded("busy"), DeadlineExceeded("slow"), Internal("a bug")],
)
async def test_what_may_work_later_keeps_nothing(edge: Edge, failure: Exception) -> None:
    edge.decisions.failure = failure

    with pytest.raises(Unavailable):
        await edge.keep(APPROVE)

    assert edge.inbox.kept == {}


async def test_a_token_without_the_scope_cannot_answer(edge: Edge) -> None:
    message = await edge.keep(replace(APPROVE, channel=API, scopes=frozenset({Scope.CHAT})))

    assert edge.decisions.asked == []
    assert message.control is not None
    assert message.control.error is not None
    assert message.control.error.code == "forbidden"


async def test_a_token_with_the_scope_can(edge: Edge) -> None:
    scopes = frozenset({Scope.CHAT, Scope.APPROVE})

    await edge.keep(replace(APPROVE, channel=API, scopes=scopes))

    assert len(edge.decisions.asked) == 1


async def test_a_repetition_that_was_kept_is_not_carried_out_again(edge: Edge) -> None:
    for submission in (APPROVE, APPROVE, replace(STOP, own_id="m2"), replace(STOP, own_id="m2")):
        await edge.keep(submission)

    assert len(edge.decisions.asked) == 1
    assert len(edge.signals.said) == 1


async def test_a_word_under_the_id_of_another_message_is_not_carried_out(edge: Edge) -> None:
    await edge.keep(replace(APPROVE, content="hello"))

    with pytest.raises(IdReused):
        await edge.keep(APPROVE)

    assert edge.decisions.asked == []


async def test_a_repetition_that_was_not_kept_asks_again(edge: Edge) -> None:
    edge.inbox.failure = None
    edge.decisions.failure = Unavailable("away")
    with pytest.raises(Unavailable):
        await edge.keep(APPROVE)

    edge.decisions.failure = None
    message = await edge.keep(APPROVE)

    assert len(edge.decisions.asked) == 2
    assert message.control is not None


async def test_a_stop_is_heard_and_kept(edge: Edge) -> None:
    message = await edge.keep(STOP)

    assert [said.message_id for said in edge.signals.said] == [message.message_id]
    assert message.control == Control(kind=ControlKind.STOP)


async def test_a_stop_that_nobody_heard_is_not_kept(edge: Edge) -> None:
    edge.signals.failure = Unavailable("the broker is away")

    with pytest.raises(Unavailable):
        await edge.keep(STOP)

    assert edge.inbox.kept == {}


@pytest.mark.parametrize("content", ["hello", f"please /approve {CODE}", "/approve", "/stop it"])
async def test_anything_else_is_kept_as_it_is(edge: Edge, content: str) -> None:
    message = await edge.keep(replace(APPROVE, content=content))

    assert message.control is None
    assert (edge.decisions.asked, edge.signals.said) == ([], [])


async def test_a_word_that_comes_with_a_file_is_none(edge: Edge) -> None:
    file = Attachment(type="file", url="https://example.com/a")

    message = await edge.keep(replace(APPROVE, attachments=(file,)))

    assert message.control is None


async def test_what_an_earlier_screen_decided_stays(edge: Edge) -> None:
    async def pairing(submission, envelope, *, deadline):
        control = Control(kind=ControlKind.PAIR, code="P4R1NG")
        return replace(envelope, message=envelope.message.model_copy(update={"control": control}))

    controls = Controls(edge.inbox, edge.decisions, edge.signals)
    screens = [pairing, controls]
    accept = Accept(edge.inbox, IdKey(b"0123456789abcdef"), Patience(), screens=screens)

    accepted = await accept(APPROVE)

    assert accepted.message.control is not None
    assert accepted.message.control.kind is ControlKind.PAIR
    assert edge.decisions.asked == []
