"""Two replicas of the gateway and one operator: what one is told, the other knows at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from clawdbot.gateway.domain.messages import WEBHOOK_SCOPES, Envelope, Submission
from clawdbot.gateway.domain.senders import MAX_WAITING, Applicants, SenderPolicy, WaitingListFull
from clawdbot.gateway.handlers.messages import Accept, Patience
from clawdbot.gateway.handlers.sender_desk import SenderDesk
from clawdbot.gateway.handlers.senders import Admission
from clawdbot.gateway.handlers.waiting import WaitingList
from clawdbot.gateway.ports import RecordingInbox
from clawdbot.runtime.bus import Bus
from clawdbot.runtime.records import Records
from clawdbot.runtime.testing import local_bus
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import NotFound, Overloaded
from clawdbot.schema.ids import Channel, IdKey, Tenant
from clawdbot.schema.rpc import Call
from clawdbot.schema.senders import (
    ApproveSenderRequest,
    RemoveSenderRequest,
    Sender,
    SenderName,
)
from clawdbot.schema.streams import PAIRING, SENDERS

pytestmark = pytest.mark.broker

IDS = IdKey(b"0123456789abcdef")
TELEGRAM, TENANT = Channel("telegram"), Tenant("default")
POLICIES = {TELEGRAM: SenderPolicy("telegram", TENANT)}


class Replica:
    """What one gateway process has of it."""

    def __init__(self, known: Records[Sender], lists: Records[Applicants]) -> None:
        waiting = WaitingList(lists)
        self.desk = SenderDesk(POLICIES, IDS, known, waiting)
        self._screen = Admission(POLICIES, known, waiting)
        self._ids = Accept(RecordingInbox(), IDS, Patience())

    @classmethod
    async def on(cls, bus: Bus) -> Replica:
        return cls(
            await Records.open(bus, SENDERS, Sender), await Records.open(bus, PAIRING, Applicants)
        )

    async def hears(self, sender_id: str) -> Envelope:
        submission = Submission(
            tenant=TENANT,
            channel=TELEGRAM,
            platform="telegram",
            sender_id=sender_id,
            scopes=WEBHOOK_SCOPES,
            content="hello",
            place=(sender_id,),
            own_id="1",
            fallback_id="",
        )
        envelope = self._ids.envelope(submission)
        return await self._screen(submission, envelope, deadline=Deadline.after(10))

    async def code_for(self, sender_id: str) -> str:
        control = (await self.hears(sender_id)).message.control
        assert control is not None
        return control.code

    async def approve(self, code: str) -> Sender:
        return await self.desk.approve(ApproveSenderRequest(code=code), call())


def call() -> Call:
    return Call(Deadline.after(10))


@pytest_asyncio.fixture
async def replicas(tmp_path: Path) -> AsyncIterator[tuple[Replica, Replica]]:
    async with local_bus(tmp_path) as local, AsyncExitStack() as stack:
        one, other = [
            await Replica.on(await stack.enter_async_context(local.bus("gateway")))
            for _ in range(2)
        ]
        yield one, other


async def test_approval_and_removal_on_one_replica_hold_on_the_other(
    replicas: tuple[Replica, Replica],
) -> None:
    one, other = replicas

    code = await one.code_for("42")
    assert await other.code_for("42") == code
    await other.approve(code)
    assert (await one.hears("42")).message.control is None
    assert (await other.hears("42")).message.control is None

    named = SenderName(channel=TELEGRAM, sender_id="42")
    await one.desk.remove(RemoveSenderRequest(sender=named), call())
    assert (await other.hears("42")).message.control is not None


async def test_of_approvals_at_the_same_time_one_wins(replicas: tuple[Replica, Replica]) -> None:
    code = await replicas[0].code_for("42")

    results = await asyncio.gather(
        *(replica.approve(code) for replica in replicas * 3), return_exceptions=True
    )

    assert sum(isinstance(result, Sender) for result in results) == 1
    assert sum(isinstance(result, NotFound) for result in results) == 5


async def test_a_flood_of_strangers_ends_at_the_bound(replicas: tuple[Replica, Replica]) -> None:
    async def writes(number: int) -> bool:
        while True:
            try:
                await replicas[number % 2].hears(f"stranger {number}")
            except WaitingListFull:
                return False
            except Overloaded:
                continue
            return True

    told = await asyncio.gather(*(writes(number) for number in range(MAX_WAITING + 20)))

    assert sum(told) == MAX_WAITING
