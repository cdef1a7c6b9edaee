"""Two executors and one broker: who may answer, and which of two clicks counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from clawdbot.executor.adapters.bucket_approvals import BucketApprovals
from clawdbot.executor.adapters.bus_audit_log import BusAuditLog
from clawdbot.executor.domain.operation_key import OperationKey
from clawdbot.executor.domain.plan import Plan, Requester
from clawdbot.executor.domain.profile import PURE
from clawdbot.executor.handlers.approvals import Approvals, Terms
from clawdbot.runtime.bus import Bus
from clawdbot.runtime.rpc_server import RPCServer
from clawdbot.runtime.secrets import PRINCIPAL_PUBLIC
from clawdbot.runtime.testing import LocalBus, local_bus
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ApprovalDenied, ClawdbotError, Conflict, DeadlineExceeded
from clawdbot.schema.executor import (
    APPROVALS,
    DECIDE,
    Approval,
    ApprovalsRequest,
    ApprovalState,
    DecideReply,
    DecideRequest,
    Decision,
    PlanRequest,
)
from clawdbot.schema.ids import Channel, ConversationId, Tenant
from clawdbot.schema.permissions import SERVICES
from clawdbot.schema.principal import Principal, PrincipalVerifier, Scope

ALICE = Principal(
    tenant=Tenant("acme"),
    user="alice",
    scopes=frozenset({Scope.APPROVE}),
    conversation_id=ConversationId("c1"),
    channel=Channel("webhook"),
)


def in_time() -> Deadline:
    return Deadline.after(10)


@dataclass
class Broker:
    """A broker with two executors on it, of which only approvals work."""

    local: LocalBus
    replicas: list[Approvals]

    async def ask(self, operation: str) -> Approval:
        plan = Plan(
            instruction="test.command",
            instruction_version=1,
            manifest_sha256="0" * 64,
            executable_sha256="0" * 64,
            argv=("true",),
            profile=PURE,
            requester=Requester("acme", "alice", "c1", "webhook"),
        )
        request = PlanRequest(operation_id=operation, instruction="test.command")
        asked = await asyncio.gather(
            *(replica.ask(request, plan, in_time()) for replica in self.replicas)
        )
        assert asked[0] == asked[1]
        return asked[0]

    async def decide(self, bus: Bus, code: str, decision: Decision) -> DecideReply | ClawdbotError:
        request = DecideRequest(code=code, decision=decision)
        token = self.local.signer.sign(ALICE)
        try:
            return await bus.call(DECIDE, request, deadline=in_time(), principal=token)
        except ClawdbotError as exc:
            return exc


@asynccontextmanager
async def executor(local: LocalBus) -> AsyncIterator[Approvals]:
    verifier = PrincipalVerifier(local.secrets.read(PRINCIPAL_PUBLIC))
    async with local.bus("executor") as bus:
        approvals = Approvals(await BucketApprovals.open(bus), BusAuditLog(bus), Terms())
        server = RPCServer(bus, "1.0.0", verifier)
        await server.start()
        await server.respond(DECIDE, approvals.decide, None, 8)
        await server.respond(APPROVALS, approvals.approvals, None, 8)
        try:
            yield approvals
        finally:
            await server.stop(Deadline.after(2))


@pytest_asyncio.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    async with local_bus(tmp_path) as local, AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(executor(local)) for _ in range(2)]
        yield Broker(local, replicas)


async def test_of_clicks_at_the_same_time_on_two_replicas_one_kind_counts(broker: Broker) -> None:
    async with broker.local.bus("gateway") as gateway:
        for number in range(5):
            asked = await broker.ask(f"op-{number}")

            outcomes = await asyncio.gather(
                *(broker.decide(gateway, asked.code, decision) for decision in [*Decision] * 4)
            )

            replies = [each.approval for each in outcomes if isinstance(each, DecideReply)]
            refusals = [each for each in outcomes if not isinstance(each, DecideReply)]
            assert len({reply.state for reply in replies}) == 1
            assert replies == [replies[0]] * 4
            loser = Conflict if replies[0].state is ApprovalState.APPROVED else ApprovalDenied
            assert [type(refusal) for refusal in refusals] == [loser] * 4


async def test_an_approval_is_used_by_its_operation_on_whatever_replica(broker: Broker) -> None:
    asked = await broker.ask("op-1")
    async with broker.local.bus("gateway") as gateway:
        token = broker.local.signer.sign(ALICE)
        waiting = await gateway.call(
            APPROVALS, ApprovalsRequest(), deadline=in_time(), principal=token
        )
        await broker.decide(gateway, asked.code, Decision.APPROVE)

    key = OperationKey("acme", "alice", "op-1")
    await asyncio.gather(
        *(replica.use(key, asked.plan_hash, in_time()) for replica in broker.replicas)
    )

    assert waiting.approvals == (asked,)
    record = await broker.replicas[0].find(key, in_time())
    assert record.state is ApprovalState.USED


@pytest.mark.parametrize("service", [name for name in SERVICES if name != "gateway"])
async def test_the_broker_lets_nobody_but_the_gateway_decide(broker: Broker, service: str) -> None:
    asked = await broker.ask("op-1")
    request = DecideRequest(code=asked.code, decision=Decision.APPROVE)
    # Even with a principal that only the gateway can sign.
    token = broker.local.signer.sign(ALICE)

    async with broker.local.bus(service) as bus:
        with pytest.raises(DeadlineExceeded):
            await bus.call(DECIDE, request, deadline=Deadline.after(0.5), principal=token)

    assert await broker.ask("op-1") == asked
