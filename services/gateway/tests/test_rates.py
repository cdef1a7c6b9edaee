"""Limits of messages and of addresses, without HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from clawdbot.gateway.domain.buckets import Limit
from clawdbot.gateway.domain.crowd import Crowd
from clawdbot.gateway.domain.messages import WEBHOOK, Accepted, Envelope, Submission
from clawdbot.gateway.domain.rates import Kind, RateLimited, Rates
from clawdbot.gateway.handlers.doorkeeper import KNOWN_S, Doorkeeper
from clawdbot.gateway.handlers.messages import Accept, Converse, Patience
from clawdbot.gateway.handlers.rates import RateScreen, UncrowdedInbox
from clawdbot.gateway.ports import RecordingInbox, RecordingReplies
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.ids import IdKey, Tenant
from clawdbot.schema.principal import Scope

IDS = IdKey(b"0123456789abcdef")
SUBMISSION = Submission(
    tenant=Tenant("acme"),
    channel=WEBHOOK,
    platform="webhook",
    sender_id="ann",
    scopes=frozenset({Scope.CHAT}),
    content="hi",
    place=("room",),
    own_id="m0",
    fallback_id="",
)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Post:
    """The way of a message over recording fakes, with limits."""

    limits: dict[Kind, Limit]
    clock: Clock = field(default_factory=Clock)
    inbox: RecordingInbox = field(default_factory=RecordingInbox)
    refused: list[Kind] = field(default_factory=list)

    def __post_init__(self) -> None:
        rates = Rates(self.limits, 1024, self.refused.append)
        screen = RateScreen(rates, now=self.clock)
        self.accept = Accept(self.inbox, IDS, Patience(), screens=[screen])
        self._number = 0

    async def send(self, **fields: object) -> Accepted:
        self._number += 1
        fields = {"own_id": f"m{self._number}", **fields}
        return await self.accept(replace(SUBMISSION, **fields))

    async def flood(self, **fields: object) -> int:
        count = 0
        while True:
            try:
                await self.send(**fields)
            except RateLimited:
                return count
            count += 1


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        (Kind.CONVERSATION, {"place": ("another",)}),
        (Kind.SENDER, {"sender_id": "bob"}),
        (Kind.CHANNEL, {"channel": "telegram"}),
        (Kind.TENANT, {"tenant": Tenant("other")}),
    ],
)
async def test_a_flood_ends_at_its_limit_and_others_go_on(
    kind: Kind, other: dict[str, object]
) -> None:
    post = Post({kind: Limit(per_s=0.5, burst=3)})

    assert await post.flood() == 3
    with pytest.raises(RateLimited) as caught:
        await post.send()
    assert (await post.send(**other)).is_new

    error = caught.value
    assert (error.code, error.status, error.kind) == ("rate_limited", 429, kind)
    assert error.retry_after_s == pytest.approx(2.0)
    assert kind.value in str(error.fix)
    assert set(post.refused) == {kind}
    post.clock.now += 2.0
    assert (await post.send()).is_new


async def test_what_is_refused_uses_up_nothing_of_others() -> None:
    post = Post({Kind.CONVERSATION: Limit(per_s=1, burst=2), Kind.TENANT: Limit(per_s=1, burst=4)})

    await post.flood()
    for _ in range(100):
        with pytest.raises(RateLimited):
            await post.send()

    assert await post.flood(place=("another",)) == 2


async def test_the_same_names_in_another_tenant_are_somebody_else() -> None:
    post = Post({Kind.SENDER: Limit(1, 1), Kind.CHANNEL: Limit(1, 1)})

    await post.send()

    assert (await post.send(tenant=Tenant("other"))).is_new


async def test_what_was_let_pass_may_be_repeated_by_whoever_is_over_the_limit() -> None:
    limit = Limit(per_s=1, burst=3)
    post = Post({Kind.CONVERSATION: limit, Kind.REPETITION: limit})
    first = await post.send(own_id="first")
    await post.flood()

    again = await post.send(own_id="first")

    assert not again.is_new
    assert again.message == first.message


async def test_repetitions_are_limited_and_use_up_nothing_of_new_messages() -> None:
    limit = Limit(per_s=1, burst=3)
    post = Post({Kind.CONVERSATION: limit, Kind.REPETITION: limit})
    await post.send(own_id="first")

    assert await post.flood(own_id="first") == 3
    assert (await post.send()).is_new


async def test_without_limits_everything_passes() -> None:
    post = Post({})

    for _ in range(1000):
        assert (await post.send()).is_new


def test_what_one_replica_counted_another_one_counts_too() -> None:
    limits = {Kind.SENDER: Limit(per_s=1, burst=3), Kind.TENANT: Limit(per_s=1, burst=100)}
    one, other = Rates(limits, 1024), Rates({Kind.SENDER: limits[Kind.SENDER]}, 1024)
    for _ in range(3):
        one.take([(Kind.SENDER, "ann"), (Kind.TENANT, "acme")], 0.0)

    told = one.tell(10)
    other.learn([*told, ("later", "x", 1), ("tenant", "acme", 1000)], 0.0)

    assert told == [(Kind.SENDER, "ann", 3)]
    with pytest.raises(RateLimited):
        other.take([(Kind.SENDER, "ann")], 0.0)
    other.take([(Kind.SENDER, "bob"), (Kind.TENANT, "acme")], 0.0)


class SlowInbox(RecordingInbox):
    """Stores nothing before it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.may_store = asyncio.Event()

    async def keep(self, envelope: Envelope, *, deadline: Deadline) -> Accepted:
        await self.may_store.wait()
        return await super().keep(envelope, deadline=deadline)


async def test_a_conversation_holds_some_places_at_a_slow_broker_and_no_more() -> None:
    inbox = SlowInbox()
    accept = Accept(UncrowdedInbox(inbox, Crowd(Kind.KEEPING, 2)), IDS, Patience())

    async with asyncio.TaskGroup() as group:
        for number in range(2):
            group.create_task(accept(replace(SUBMISSION, own_id=f"m{number}")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(RateLimited):
            await accept(replace(SUBMISSION, own_id="m3"))
        other = group.create_task(accept(replace(SUBMISSION, place=("another",))))
        inbox.may_store.set()

    assert other.result().is_new
    assert len(inbox.kept) == 3
    assert (await accept(replace(SUBMISSION, own_id="m4"))).is_new


async def test_a_sender_waits_for_some_answers_at_a_time_and_no_more() -> None:
    accept = Accept(RecordingInbox(), IDS, Patience())
    converse = Converse(accept, RecordingReplies(), Patience(), Crowd(Kind.WAITING, 1))
    waiting = converse(SUBMISSION)
    await anext(waiting)

    with pytest.raises(RateLimited):
        await anext(converse(replace(SUBMISSION, own_id="m1", place=("another",))))
    other = converse(replace(SUBMISSION, own_id="m2", sender_id="bob"))
    await anext(other)
    await waiting.aclose()
    again = converse(replace(SUBMISSION, own_id="m3"))
    await anext(again)

    await other.aclose()
    await again.aclose()


FAILURES = Limit(per_s=0.5, burst=2)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keeper_of(clock: Clock) -> Callable[..., Doorkeeper]:
    def make(*, max_keys: int = 1024, exchanging: bool = True, **limits: Limit) -> Doorkeeper:
        given = {Kind.FAILURE: FAILURES} | {Kind(name): limit for name, limit in limits.items()}
        rates = Rates(given, max_keys)
        return Doorkeeper(rates, IDS, lambda: exchanging, now=clock)

    return make


def test_a_stranger_is_read_until_too_much_of_them_is_unproven(keeper_of, clock) -> None:
    keeper = keeper_of()

    assert [keeper.admit("192.0.2.1") for _ in range(2)] == [True, True]
    with pytest.raises(RateLimited):
        keeper.admit("192.0.2.1")
    assert keeper.admit("192.0.2.2")
    clock.now += 2
    assert keeper.admit("192.0.2.1")


def test_who_proves_themselves_is_never_refused(keeper_of) -> None:
    keeper = keeper_of()

    for _ in range(100):
        if keeper.admit("192.0.2.1"):
            keeper.give_back("192.0.2.1")
        keeper.vouch("192.0.2.1")


def test_failures_do_not_lock_out_who_shares_the_address(keeper_of, clock) -> None:
    keeper = keeper_of()
    keeper.vouch("192.0.2.1")
    for _ in range(2):
        keeper.fail("192.0.2.1")
    with pytest.raises(RateLimited):
        keeper.fail("192.0.2.1")

    assert keeper.admit("192.0.2.1") is False
    clock.now += KNOWN_S
    assert keeper.admit("192.0.2.1") is True


def test_a_known_address_that_failed_too_often_is_a_stranger_again_in_the_end(
    keeper_of, clock
) -> None:
    keeper = keeper_of(failure=Limit(per_s=1e-6, burst=2))
    keeper.vouch("192.0.2.1")
    for _ in range(2):
        keeper.fail("192.0.2.1")
    clock.now += KNOWN_S

    with pytest.raises(RateLimited):
        keeper.admit("192.0.2.1")


def test_when_all_places_for_addresses_are_taken_strangers_are_refused(keeper_of, clock) -> None:
    keeper = keeper_of(max_keys=3)
    keeper.vouch("198.51.100.1")
    for number in range(3):
        keeper.admit(f"192.0.2.{number}")

    with pytest.raises(RateLimited):
        keeper.admit("203.0.113.1")
    assert keeper.admit("198.51.100.1") is False
    clock.now += 2
    assert keeper.admit("203.0.113.1")


def test_without_the_other_replicas_strangers_are_refused_and_the_known_are_not(keeper_of) -> None:
    keeper = keeper_of(exchanging=False)

    with pytest.raises(Unavailable):
        keeper.admit("192.0.2.1")
    keeper.vouch("192.0.2.1")

    assert keeper.admit("192.0.2.1") is False


def test_authentic_requests_of_an_address_have_a_limit_of_their_own(keeper_of) -> None:
    keeper = keeper_of(address=Limit(per_s=1, burst=3))

    for _ in range(3):
        keeper.vouch("192.0.2.1")
    with pytest.raises(RateLimited) as caught:
        keeper.vouch("192.0.2.1")
    assert caught.value.kind is Kind.ADDRESS
