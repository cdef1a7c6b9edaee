from __future__ import annotations

import pytest

from clawdbot.executor.adapters.recording import RecordingSandbox
from clawdbot.executor.domain.capabilities import Capabilities
from clawdbot.executor.handlers.approvals import Approvals
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import Forbidden, NotFound, Unavailable
from clawdbot.schema.executor import ApprovalsRequest, DecideRequest, Decision
from clawdbot.schema.ids import Channel, ConversationId, Tenant
from clawdbot.schema.principal import Principal, Scope
from clawdbot.schema.rpc import Call

DECISION = DecideRequest(code="K7Q2", decision=Decision.APPROVE)


def _call(*scopes: Scope) -> Call:
    principal = Principal(
        tenant=Tenant("acme"),
        user="alice",
        scopes=frozenset(scopes),
        conversation_id=ConversationId("c1"),
        channel=Channel("webhook"),
    )
    return Call(Deadline.after(5), principal)


async def test_no_code_can_be_decided_because_nothing_waits() -> None:
    with pytest.raises(NotFound, match="nothing waits"):
        await Approvals(RecordingSandbox()).decide(DECISION, _call(Scope.APPROVE))


async def test_nothing_waits_for_anybody() -> None:
    reply = await Approvals(RecordingSandbox()).approvals(ApprovalsRequest(), _call(Scope.APPROVE))

    assert reply.approvals == ()


async def test_who_may_only_chat_may_not_approve() -> None:
    with pytest.raises(Forbidden):
        await Approvals(RecordingSandbox()).decide(DECISION, _call(Scope.CHAT))
    with pytest.raises(Forbidden):
        await Approvals(RecordingSandbox()).approvals(ApprovalsRequest(), _call(Scope.CHAT))


async def test_without_a_sandbox_approvals_are_refused_too() -> None:
    sandbox = RecordingSandbox()
    sandbox.capabilities = Capabilities("recording", usable=False, reason="no bubblewrap")

    with pytest.raises(Unavailable, match="no bubblewrap"):
        await Approvals(sandbox).approvals(ApprovalsRequest(), _call(Scope.APPROVE))
