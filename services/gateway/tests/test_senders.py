"""Who is let in, who is told a code, and who is told nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from clawdbot.gateway.domain.messages import API, DELEGABLE, WEBHOOK_SCOPES, Envelope, Submission
from clawdbot.gateway.domain.senders import (
    CODE_TTL_MS,
    MAX_TOLD,
    MAX_WAITING,
    Applicants,
    SenderPolicy,
    SenderRefused,
    SenderRule,
    WaitingListFull,
)
from clawdbot.gateway.handlers.messages import Accept, Patience
from clawdbot.gateway.handlers.sender_desk import SenderDesk
from clawdbot.gateway.handlers.senders import STRANGERS_CHARS, Admission
from clawdbot.gateway.handlers.waiting import ALPHABET, CODE_CHARS, WaitingList, new_code
from clawdbot.gateway.ports import RecordingInbox
from clawdbot.gateway.ports.records import InMemoryRecords
from clawdbot.schema.controls import ControlKind
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import Conflict, NotFound
from clawdbot.schema.ids import Channel, IdKey, Tenant
from clawdbot.schema.messages import Attachment, InboundMessage
from clawdbot.schema.rpc import Call
from clawdbot.schema.senders import (
    ApproveSenderRequest,
    RemoveSenderRequest,
    Sender,
    SenderName,
    SendersRequest,
)

IDS = IdKey(b"0123456789abcdef")
TENANT = Tenant("default")
TELEGRAM, SLACK = Channel("telegram"), Channel("slack")


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Door:
    """The screen before an inbox, and the operator's desk behind it."""

    def __init__(self, **policies: SenderPolicy) -> None:
        self.clock = Clock()
        self.policies = {Channel(name): policy for name, policy in policies.items()}
        self.records: InMemoryRecords[Sender] = InMemoryRecords()
        self.lists: InMemoryRecords[Applicants] = InMemoryRecords()
        self.inbox = RecordingInbox()
        waiting = WaitingList(self.lists, now=self.clock)
        self.desk = SenderDesk(self.policies, IDS, self.records, waiting, now=self.clock)
        screen = Admission(self.policies, self.records, waiting)
        self.accept = Accept(self.inbox, IDS, Patience(), screens=[screen], now=self.clock)
        self._said = 0

    async def say(self, sender_id: str = "42", **changes: object) -> InboundMessage:
        self._said += 1
        submission = Submission(
            tenant=TENANT,
            channel=TELEGRAM,
            platform="telegram",
            sender_id=sender_id,
            scopes=WEBHOOK_SCOPES,
            content="hello",
            place=(sender_id, ""),
            own_id=str(self._said),
            fallback_id="",
        )
        return (await self.accept(dataclasses.replace(submission, **changes))).message

    async def told(self, sender_id: str = "42") -> str:
        """Return the code that a stranger is told."""
        control = (await self.say(sender_id)).control
        assert control is not None
        assert control.kind is ControlKind.PAIR
        return control.code

    async def approve(self, code: str) -> Sender:
        return await self.desk.approve(ApproveSenderRequest(code=code), call())


def call() -> Call:
    return Call(Deadline.after(5))


def policy(rule: SenderRule = SenderRule.PAIRING, *allowed: str) -> SenderPolicy:
    return SenderPolicy("telegram", TENANT, rule, frozenset(allowed))


@pytest.fixture
def door() -> Door:
    return Door(telegram=policy(), slack=dataclasses.replace(policy(), platform="slack"))


async def test_a_stranger_is_told_a_code_and_may_do_nothing(door: Door) -> None:
    file = Attachment(type="image", url="telegram:abc")

    message = await door.say(content="x" * 5000, attachments=(file,))

    assert message.control is not None
    assert message.control.kind is ControlKind.PAIR
    assert len(message.control.code) == CODE_CHARS
    assert message.attachments == ()
    assert len(message.content) == STRANGERS_CHARS
    assert door.inbox.principals[message.message_id].scopes == frozenset()


async def test_whoever_is_approved_is_heard_from_then_on(door: Door) -> None:
    code = await door.told()

    approved = await door.approve(f" {code.lower()} ")
    message = await door.say(content="x" * 5000)

    assert (approved.channel, approved.sender_id) == ("telegram", "42")
    assert message.control is None
    assert len(message.content) == 5000
    assert door.inbox.principals[message.message_id].scopes == DELEGABLE


async def test_a_code_works_once(door: Door) -> None:
    code = await door.told()
    await door.approve(code)

    with pytest.raises(NotFound, match="nobody waits with this code"):
        await door.approve(code)


async def test_a_code_lasts_an_hour(door: Door) -> None:
    code = await door.told()
    door.clock.now += CODE_TTL_MS / 1000

    with pytest.raises(NotFound):
        await door.approve(code)
    assert await door.told() != code


async def test_the_same_code_is_told_a_few_times_and_then_nothing(door: Door) -> None:
    codes = {await door.told() for _ in range(MAX_TOLD)}

    assert len(codes) == 1
    with pytest.raises(SenderRefused):
        await door.say()
    assert len(door.inbox.kept) == MAX_TOLD


async def test_strangers_cannot_fill_the_bucket(door: Door) -> None:
    for number in range(MAX_WAITING):
        await door.told(str(number))

    with pytest.raises(WaitingListFull):
        await door.say("one too many")
    assert (await door.say("0")).control is not None
    assert (await door.say("elsewhere", channel=SLACK, platform="slack")).control is not None

    door.clock.now += CODE_TTL_MS / 1000
    await door.told("one too many")


async def test_nothing_is_told_where_others_read_it(door: Door) -> None:
    with pytest.raises(SenderRefused):
        await door.say(in_group=True)
    assert not door.lists.kept

    await door.approve(await door.told())

    assert (await door.say(in_group=True)).control is None


async def test_only_the_list_lets_in_where_there_is_one() -> None:
    door = Door(telegram=policy(SenderRule.ALLOW_LIST, "42"))

    assert (await door.say("42")).control is None
    with pytest.raises(SenderRefused):
        await door.say("43")
    assert not door.lists.kept


async def test_a_listed_sender_needs_no_code_and_cannot_be_removed_by_the_desk() -> None:
    door = Door(telegram=policy(SenderRule.PAIRING, "42"))

    assert (await door.say("42")).control is None
    assert (await door.say("43")).control is not None
    named = SenderName(channel=TELEGRAM, sender_id="42")
    with pytest.raises(Conflict, match="configuration lets this sender in"):
        await door.desk.remove(RemoveSenderRequest(sender=named), call())


async def test_everybody_is_let_in_where_it_is_open_and_nothing_is_looked_up() -> None:
    door = Door(telegram=policy(SenderRule.OPEN))
    envelope = Envelope(*(None, None))  # type: ignore[arg-type]  # nobody looks into it
    submission = Submission(
        TENANT, TELEGRAM, "telegram", "1", WEBHOOK_SCOPES, "hi", ("1",), "1", ""
    )
    screen = Admission(door.policies, door.records, WaitingList(door.lists))

    assert await screen(submission, envelope, deadline=Deadline.after(-1)) is envelope


async def test_a_channel_without_a_policy_lets_nobody_in(door: Door) -> None:
    with pytest.raises(SenderRefused):
        await door.say(channel=API, platform="api")


async def test_who_is_paired_on_one_account_is_a_stranger_on_another(door: Door) -> None:
    await door.approve(await door.told())

    assert (await door.say(channel=SLACK, platform="slack")).control is not None
    assert (await door.say(tenant=Tenant("acme"))).control is not None


async def test_whoever_is_removed_is_a_stranger_at_once(door: Door) -> None:
    await door.approve(await door.told())
    named = SenderName(channel=TELEGRAM, sender_id="42")

    removed = await door.desk.remove(RemoveSenderRequest(sender=named), call())

    assert removed.sender_id == "42"
    assert (await door.say()).control is not None
    with pytest.raises(NotFound):
        await door.desk.remove(RemoveSenderRequest(sender=named), call())


async def test_the_list_shows_who_was_let_in_and_who_waits(door: Door) -> None:
    await door.approve(await door.told("1"))
    code = await door.told("2")

    found = await door.desk.list(SendersRequest(), call())

    assert [sender.sender_id for sender in found.known] == ["1"]
    assert [(one.code, one.sender.sender_id) for one in found.waiting] == [(code, "2")]
    assert "hello" not in found.model_dump_json()


async def test_two_strangers_at_the_same_moment_both_get_a_code(door: Door) -> None:
    codes: list[str] = []

    async def another() -> None:
        door.lists.before_write = None
        codes.append(await door.told("2"))

    door.lists.before_write = another
    codes.append(await door.told("1"))

    assert len(set(codes)) == 2
    assert {(await door.approve(code)).sender_id for code in codes} == {"1", "2"}


async def test_of_two_approvals_at_the_same_moment_one_wins(door: Door) -> None:
    code = await door.told()

    async def faster() -> None:
        door.lists.before_write = None
        await door.approve(code)

    door.lists.before_write = faster

    with pytest.raises(NotFound):
        await door.approve(code)


def test_codes_are_long_and_cannot_be_misread() -> None:
    made: set[str] = {new_code() for _ in range(500)}
    read: Callable[[str], bool] = set(ALPHABET).issuperset

    assert len(made) == 500
    assert all(len(code) == CODE_CHARS and read(code) for code in made)
    assert len(ALPHABET) == len(set(ALPHABET)) == 32
    assert not set("IO01") & set(ALPHABET)
