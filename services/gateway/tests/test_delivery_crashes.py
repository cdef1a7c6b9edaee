"""Deliveries and drafts whose processes die, or hear nothing, between any two steps."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawdbot.gateway.adapters.recording import InMemoryDeliveryRecords
from clawdbot.gateway.domain.deliveries import (
    MOST_DOUBTS,
    AnswerLost,
    MayShow,
    Noted,
    SendTraits,
)
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.gateway.domain.splitting import TextLimit, split
from clawdbot.gateway.handlers.drafts import Draft, DraftPace, Line, Quiet
from clawdbot.gateway.handlers.platforms import DeliverParts
from clawdbot.gateway.handlers.reply_progress import DraftPatience, ReplyRecords
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.deliveries import ReplyDelivery
from clawdbot.schema.delivery import Delivery
from clawdbot.schema.errors import ClawdbotError, Overloaded, Rejected, Unavailable
from clawdbot.schema.ids import Channel, ConversationId, MessageId, Tenant
from clawdbot.schema.messages import Delta, InboundMessage, OutboundMessage

LIMIT = TextLimit(128)
TEXT = " ".join(f"word{number}" for number in range(45))
PARTS = list(split(TEXT, LIMIT))
IDS = {
    "channel": Channel("chat"),
    "tenant": Tenant("default"),
    "conversation_id": ConversationId("conversation"),
    "message_id": MessageId("message"),
}
REPLY = OutboundMessage(**IDS, content=TEXT, created_at_ms=0)
QUESTION = InboundMessage(
    **IDS,
    platform="chat",
    sender_id="ada",
    content="?",
    timestamp=0,
    accepted_at_ms=0,
    deadline_ms=0,
)
PATIENCE = DraftPatience(quiet_s=0.03, most_s=0.5, look_every_s=0.001)


class Fault(Enum):
    """What happens at one step of a process."""

    NONE = auto()
    DIES_BEFORE = auto()
    DIES_AFTER = auto()
    FAILS = auto()
    """It is told that nothing was done, which is true."""
    LOST_BEFORE = auto()
    """Nothing was done, and nobody says so."""
    LOST_AFTER = auto()
    """It was done, and nobody says so."""


class Killed(BaseException):
    """Nothing of the process runs after this."""


@dataclass
class Shown:
    """A message that people see."""

    key: str
    text: str


@dataclass
class World:
    """What outlives a process: the platform and the broker.

    Attributes:
        is_keyed: whether the platform knows idempotency keys.
        faults: of the next steps, whatever they are; none when it runs out.
    """

    is_keyed: bool
    faults: list[Fault] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    records: InMemoryDeliveryRecords = field(default_factory=InMemoryDeliveryRecords)
    processes: int = 0
    edits: int = 0

    @property
    def texts(self) -> list[str]:
        return [message.text for message in self.shown]


class Process:
    """One gateway process: a `Sender` and a `DeliveryRecords` until it dies."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.is_alive = True
        world.processes += 1
        self.name = f"process-{world.processes}"
        records = ReplyRecords(self, self.name, has_drafts=True, patience=PATIENCE)
        self.deliver = DeliverParts(self, LIMIT, records)

    async def _step(self, lost: type[ClawdbotError]) -> ClawdbotError | None:
        """Return what to raise once the effect took place."""
        await asyncio.sleep(0)
        self._check()
        fault = self.world.faults.pop(0) if self.world.faults else Fault.NONE
        if fault is Fault.DIES_BEFORE:
            self.is_alive = False
            raise Killed
        if fault is Fault.FAILS:
            raise Overloaded("busy", retry_after_s=0.001)
        if fault is Fault.LOST_BEFORE:
            raise lost("no answer")
        if fault is Fault.DIES_AFTER:
            self.is_alive = False
        return lost("no answer") if fault is Fault.LOST_AFTER else None

    def _check(self) -> None:
        if not self.is_alive:
            raise Killed

    async def _done(self, failure: ClawdbotError | None) -> None:
        self._check()
        if failure is not None:
            raise failure

    def traits(self, part: ReplyPart) -> SendTraits:
        return SendTraits(shows_once=self.world.is_keyed, edits=True)

    async def send(self, part: ReplyPart, *, deadline: Deadline) -> str | None:
        failure = await self._step(AnswerLost)
        shown = self.world.shown
        known = [index for index, each in enumerate(shown) if each.key == part.idempotency_key]
        if self.world.is_keyed and known:
            index = known[0]
        else:
            shown.append(Shown(part.idempotency_key, part.text))
            index = len(shown) - 1
        await self._done(failure)
        return str(index)

    async def edit(self, sent_id: str, part: ReplyPart, *, deadline: Deadline) -> None:
        failure = await self._step(AnswerLost)
        if not sent_id.isdigit():
            raise Rejected("no such message")
        self.world.shown[int(sent_id)].text = part.text
        self.world.edits += 1
        await self._done(failure)

    async def show_typing(self, part: ReplyPart, *, deadline: Deadline) -> None:
        raise NotImplementedError

    async def read(self, key: str, *, deadline: Deadline) -> Noted | None:
        failure = await self._step(Unavailable)
        found = await self.world.records.read(key, deadline=deadline)
        await self._done(failure)
        return found

    async def write(
        self, key: str, value: ReplyDelivery, revision: int, *, deadline: Deadline
    ) -> int | None:
        failure = await self._step(Unavailable)
        written = await self.world.records.write(key, value, revision, deadline=deadline)
        await self._done(failure)
        return written

    async def draft(self) -> None:
        """Show the reply in three steps, as `LiveReplies` does."""
        line = Line(self, LIMIT, True, None, DraftPace(call_s=1), Quiet())
        draft = Draft(line, QUESTION, self, f"{self.name}/draft")
        try:
            for index, text in enumerate((TEXT[:30], TEXT[30:90], TEXT[90:])):
                draft.take(Delta(message_id=MessageId("message"), index=index, text=text))
                if draft.due_in_s() is not None:
                    await draft.show()
        finally:
            await draft.close()


def delivery() -> Delivery[OutboundMessage]:
    subject = "claw.out.chat.default.conversation.message.0"
    return Delivery(REPLY, subject, 1, 1, None, Deadline.after(20))


async def survived(work: Coroutine[Any, Any, None]) -> BaseException | None:
    """Return what ended `work`."""
    (outcome,) = await asyncio.gather(asyncio.ensure_future(work), return_exceptions=True)
    return outcome


async def delivered(world: World, process: Process) -> bool:
    """Have the reply delivered as the ordered consumer does; return whether it was."""
    for _ in range(40):
        outcome = await survived(process.deliver.handle(delivery()))
        if outcome is None:
            return True
        if isinstance(outcome, MayShow):
            return False
        assert isinstance(outcome, Killed | ClawdbotError), outcome
        if isinstance(outcome, Killed):
            process = Process(world)
    raise AssertionError("the reply neither arrived nor became a dead letter")


async def conversation(
    world: World, *, is_drafted: bool, same_process: bool, turns: int = 7
) -> bool:
    """Draft and deliver the reply; return whether it arrived.

    Args:
        world: where.
        is_drafted: whether there is a draft.
        same_process: whether one process does both.
        turns: of the event loop, after which the reply is stored; negative if the draft is late.
    """
    drafter = Process(world)
    work = _after(-turns, drafter.draft()) if is_drafted else _after(0)
    drafting = asyncio.create_task(survived(work))
    await _after(turns)
    is_there = await delivered(world, drafter if same_process else Process(world))
    outcome = await drafting
    assert outcome is None or isinstance(outcome, Killed), outcome
    return is_there


async def _after(turns: int, work: Coroutine[Any, Any, None] | None = None) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    if work is not None:
        await work


DEATHS = (Fault.DIES_BEFORE, Fault.DIES_AFTER)
LOSSES = (Fault.LOST_BEFORE, Fault.LOST_AFTER, Fault.FAILS)


@pytest.mark.parametrize("same_process", [False, True])
@pytest.mark.parametrize("is_keyed", [True, False])
async def test_a_reply_is_shown_once_whenever_it_is_stored(
    is_keyed: bool, same_process: bool
) -> None:
    drafts = 0
    for turns in range(-10, 30):
        world = World(is_keyed)

        assert await conversation(world, is_drafted=True, same_process=same_process, turns=turns)
        assert world.texts == PARTS, f"stored after {turns}"
        drafts += world.edits > 0
    assert 20 < drafts < 40


@pytest.mark.parametrize("is_keyed", [True, False])
async def test_without_a_draft_each_part_is_sent_once(is_keyed: bool) -> None:
    world = World(is_keyed)

    assert await conversation(world, is_drafted=False, same_process=False)
    assert (world.texts, world.edits) == (PARTS, 0)


@pytest.mark.parametrize("fault", [*DEATHS, *LOSSES])
@pytest.mark.parametrize("same_process", [False, True])
@pytest.mark.parametrize("is_drafted", [False, True])
async def test_one_failure_anywhere_shows_each_part_once_where_there_are_keys(
    fault: Fault, same_process: bool, is_drafted: bool
) -> None:
    for at in range(60):
        world = World(is_keyed=True, faults=[Fault.NONE] * at + [fault])

        assert await conversation(
            world, is_drafted=is_drafted, same_process=same_process, turns=at % 20
        )
        assert world.texts == PARTS, f"{fault} at step {at}"
        if world.faults:
            break
    assert at > 5, "the failure never happened"


@pytest.mark.parametrize("fault", [*DEATHS, *LOSSES])
@pytest.mark.parametrize("same_process", [False, True])
@pytest.mark.parametrize("is_drafted", [False, True])
async def test_one_failure_anywhere_repeats_at_most_one_part_where_there_are_none(
    fault: Fault, same_process: bool, is_drafted: bool
) -> None:
    repeated = set()
    for at in range(60):
        world = World(is_keyed=False, faults=[Fault.NONE] * at + [fault])

        assert await conversation(
            world, is_drafted=is_drafted, same_process=same_process, turns=at % 20
        )
        assert _in_order(world.texts, world.shown)
        repeated.add(len(world.texts) - len(PARTS))
        if world.faults:
            break
    # Only what was done without being noted is repeated.
    assert repeated == ({0} if fault in {Fault.FAILS, Fault.LOST_BEFORE} else {0, 1})


def _in_order(texts: list[str], shown: list[Shown]) -> bool:
    """Return whether the parts follow each other, a repetition beside what it repeats."""
    keys = [message.key for message in shown]
    is_last = [key not in keys[index + 1 :] for index, key in enumerate(keys)]
    final = [text for text, last in zip(texts, is_last, strict=True) if last]
    return final == PARTS


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from(Fault), max_size=40),
    st.booleans(),
    st.one_of(st.none(), st.integers(-10, 30)),
)
def test_whatever_fails_how_often_nobody_reads_anything_a_third_time(
    faults: list[Fault], is_keyed: bool, turns: int | None
) -> None:
    world = World(is_keyed, faults)

    is_there = asyncio.run(
        conversation(world, is_drafted=turns is not None, same_process=False, turns=turns or 0)
    )

    keys = [message.key for message in world.shown]
    if is_keyed:
        assert is_there
        assert world.texts == PARTS
    else:
        assert all(keys.count(key) <= MOST_DOUBTS for key in keys)
        assert not is_there or _in_order(world.texts, world.shown)


async def test_a_redriven_reply_goes_on_where_the_letter_ended() -> None:
    world = World(is_keyed=False)
    # The second part's answer is lost twice: nobody may send it a third time.
    steps_before_second = 5
    lost = [Fault.LOST_BEFORE]
    world.faults = [Fault.NONE] * steps_before_second + lost
    process = Process(world)
    assert isinstance(await survived(process.deliver.handle(delivery())), AnswerLost)
    world.faults = [Fault.NONE, Fault.NONE, *lost]
    assert isinstance(await survived(process.deliver.handle(delivery())), AnswerLost)
    assert isinstance(await survived(process.deliver.handle(delivery())), MayShow)

    again = "claw.out.chat.default.conversation.redriven.0"
    redriven = Delivery(REPLY, again, 2, 1, None, Deadline.after(5))
    assert await survived(Process(world).deliver.handle(redriven)) is None

    assert world.texts == PARTS
