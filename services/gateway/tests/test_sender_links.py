"""One person on several channels: linked, unlinked, and never more than one person."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from clawdbot.gateway.domain.messages import API, WEBHOOK, WEBHOOK_SCOPES, Submission
from clawdbot.gateway.domain.senders import Applicants, SenderPolicy, SenderRule
from clawdbot.gateway.handlers.messages import Accept, Patience
from clawdbot.gateway.handlers.sender_desk import SenderDesk
from clawdbot.gateway.handlers.senders import Admission
from clawdbot.gateway.handlers.waiting import WaitingList
from clawdbot.gateway.ports import RecordingInbox
from clawdbot.gateway.ports.records import InMemoryRecords
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, Conflict, Forbidden, InvalidMessage, NotFound
from clawdbot.schema.ids import Channel, IdKey, Tenant
from clawdbot.schema.rpc import Call
from clawdbot.schema.senders import (
    LinkSendersRequest,
    RemoveSenderRequest,
    Sender,
    SenderName,
    SendersRequest,
    UnlinkSenderRequest,
)

IDS = IdKey(b"0123456789abcdef")
TENANT = Tenant("default")
OPEN = SenderPolicy("telegram", TENANT, SenderRule.OPEN, may_link=True)
POLICIES = {
    Channel("telegram"): OPEN,
    Channel("slack"): dataclasses.replace(OPEN, platform="slack"),
    Channel("acme"): dataclasses.replace(OPEN, platform="slack", tenant=Tenant("acme")),
    Channel("closed"): dataclasses.replace(OPEN, platform="slack", may_link=False),
    API: SenderPolicy("api", None, SenderRule.OPEN, may_link=True),
    WEBHOOK: SenderPolicy(
        "webhook", TENANT, SenderRule.OPEN, may_link=True, has_many_platforms=True
    ),
}
T = TypeVar("T")


def name(text: str) -> SenderName:
    channel, _, sender_id = text.partition(":")
    return SenderName(channel=Channel(channel), sender_id=sender_id)


class People:
    """The desk, and what the screen makes of whoever writes."""

    def __init__(self) -> None:
        self.records: InMemoryRecords[Sender] = InMemoryRecords()
        lists: InMemoryRecords[Applicants] = InMemoryRecords()
        waiting = WaitingList(lists)
        self.desk = SenderDesk(POLICIES, IDS, self.records, waiting)
        self._inbox = RecordingInbox()
        screen = Admission(POLICIES, self.records, waiting)
        self._accept = Accept(self._inbox, IDS, Patience(), screens=[screen])
        self._said = 0

    async def writes(self, who: str, tenant: Tenant = TENANT) -> tuple[str, str]:
        """Return whose user a message of `who` speaks for, and its conversation."""
        named = name(who)
        self._said += 1
        submission = Submission(
            tenant=tenant,
            channel=named.channel,
            platform=POLICIES[named.channel].platform,
            sender_id=named.sender_id,
            scopes=WEBHOOK_SCOPES,
            content="hello",
            place=(named.sender_id,),
            own_id=str(self._said),
            fallback_id="",
        )
        message = (await self._accept(submission)).message
        return self._inbox.principals[message.message_id].user, message.conversation_id

    async def link(self, first: str, second: str) -> Sender:
        return await self.desk.link(
            LinkSendersRequest(first=name(first), second=name(second)), call()
        )

    async def unlink(self, who: str) -> Sender:
        return await self.desk.unlink(UnlinkSenderRequest(sender=name(who)), call())

    async def remove(self, who: str) -> Sender:
        return await self.desk.remove(RemoveSenderRequest(sender=name(who)), call())


def call() -> Call:
    return Call(Deadline.after(5))


@pytest.fixture
def people() -> People:
    return People()


async def test_linked_senders_are_the_first_one_each_in_their_own_conversation(
    people: People,
) -> None:
    before = [await people.writes(who) for who in ("telegram:1", "slack:U1", "api:ada")]

    await people.link("telegram:1", "slack:U1")
    await people.link("slack:U1", "api:ada")
    after = [await people.writes(who) for who in ("telegram:1", "slack:U1", "api:ada")]

    assert {user for user, _ in after} == {before[0][0]}
    assert [place for _, place in after] == [place for _, place in before]


async def test_unlinking_gives_back_the_own_user(people: People) -> None:
    own, _ = await people.writes("slack:U1")
    await people.link("telegram:1", "slack:U1")

    await people.unlink("slack:U1")

    assert (await people.writes("slack:U1"))[0] == own
    with pytest.raises(NotFound, match="linked to nobody"):
        await people.unlink("slack:U1")


async def test_without_their_first_sender_a_person_falls_apart_for_good(people: People) -> None:
    own = {who: (await people.writes(who))[0] for who in ("telegram:1", "slack:U1", "api:ada")}
    await people.link("telegram:1", "slack:U1")

    await people.unlink("telegram:1")
    await people.link("telegram:1", "api:ada")

    assert (await people.writes("slack:U1"))[0] == own["slack:U1"]
    assert (await people.writes("api:ada"))[0] == own["telegram:1"]


async def test_a_sender_is_one_person(people: People) -> None:
    await people.link("telegram:1", "slack:U1")
    await people.link("telegram:1", "slack:U1")

    with pytest.raises(Conflict, match="already"):
        await people.link("telegram:2", "slack:U1")
    with pytest.raises(Conflict, match="already"):
        await people.link("telegram:2", "telegram:1")
    with pytest.raises(InvalidMessage, match="themselves"):
        await people.link("telegram:1", "telegram:1")


async def test_links_stay_within_a_tenant(people: People) -> None:
    with pytest.raises(Forbidden, match="two tenants"):
        await people.link("telegram:1", "acme:U1")

    await people.link("telegram:1", "api:ada")

    assert await people.writes("api:ada") != await people.writes("api:ada", Tenant("acme"))


async def test_a_channel_that_was_not_opted_in_is_never_linked(people: People) -> None:
    with pytest.raises(Forbidden, match="not linked") as refused:
        await people.link("telegram:1", "closed:U1")

    assert refused.value.fix is not None
    assert "identity_links" in refused.value.fix
    assert not people.records.kept


@pytest.mark.parametrize(
    ("sender", "message"),
    [
        (SenderName(channel=Channel("nowhere"), sender_id="1"), "no channel 'nowhere'"),
        (
            SenderName(channel=Channel("slack"), sender_id="1", platform="line"),
            "no senders of 'line'",
        ),
        (
            SenderName(channel=Channel("slack"), sender_id="1", tenant=Tenant("acme")),
            "not of the tenant 'acme'",
        ),
    ],
)
async def test_whoever_cannot_be_meant_is_refused(
    people: People, sender: SenderName, message: str
) -> None:
    with pytest.raises(NotFound, match=message):
        await people.desk.remove(RemoveSenderRequest(sender=sender), call())


async def test_a_webhook_names_the_platform_of_its_senders(people: People) -> None:
    line = SenderName(channel=WEBHOOK, sender_id="1", platform="line")

    linked = await people.desk.link(LinkSendersRequest(first=name("api:ada"), second=line), call())

    assert linked.user == IDS.user(WEBHOOK, '["line", "1"]')


WHO = st.sampled_from(["telegram:1", "telegram:2", "slack:U1", "slack:U2", "api:ada"])


class Links(RuleBasedStateMachine):
    """Groups of senders beside the desk; a group's first sender gives it its user."""

    def __init__(self) -> None:
        super().__init__()
        self.people = People()
        self.groups: dict[str, str] = {}

    @staticmethod
    def run(work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(work)

    @rule(first=WHO, second=WHO)
    def link(self, first: str, second: str) -> None:
        head = self.groups.get(first, first)
        is_possible = first != second and self.groups.get(second, head) == head
        try:
            self.run(self.people.link(first, second))
        except ClawdbotError:
            assert not is_possible
            # What began for the first sender alone changes nobody.
            self.groups.setdefault(first, head) if first != second else None
            return
        assert is_possible
        self.groups.setdefault(first, head)
        self.groups[second] = head

    @rule(who=WHO)
    def unlink(self, who: str) -> None:
        try:
            self.run(self.people.unlink(who))
        except NotFound:
            assert who not in self.groups
            return
        self._leave(who)

    @rule(who=WHO)
    def remove(self, who: str) -> None:
        try:
            self.run(self.people.remove(who))
        except NotFound:
            assert who not in self.groups
            return
        self._leave(who)

    def _leave(self, who: str) -> None:
        if self.groups.pop(who, None) == who:
            self.groups = {one: head for one, head in self.groups.items() if head != who}

    @invariant()
    def everybody_is_the_person_that_their_group_says(self) -> None:
        async def users(who: str) -> tuple[str, str]:
            user, _ = await self.people.writes(who)
            head = name(self.groups.get(who, who))
            platform = POLICIES[head.channel].platform
            return user, IDS.user(head.channel, f'["{platform}", "{head.sender_id}"]')

        for who in ("telegram:1", "telegram:2", "slack:U1", "slack:U2", "api:ada"):
            user, expected = self.run(users(who))
            assert user == expected

    @invariant()
    def the_list_says_the_same(self) -> None:
        found = self.run(self.people.desk.list(SendersRequest(), call()))
        linked = {f"{one.channel}:{one.sender_id}" for one in found.known if one.link}
        assert linked == set(self.groups)


Links.TestCase.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
TestLinks = Links.TestCase
