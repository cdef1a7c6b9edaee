"""The ordered consumer on a real broker: every message once, in order, whatever dies."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from clawdbot.runtime import leases
from clawdbot.runtime.attempts import Pace
from clawdbot.runtime.bus import Bus
from clawdbot.runtime.deadletters import DeadLetterDesk, DeadLetters
from clawdbot.runtime.kept import Raw
from clawdbot.runtime.leases import Progress
from clawdbot.runtime.ordered import OrderedConsumer, open_consumer, open_source
from clawdbot.runtime.provision import provision
from clawdbot.runtime.testing import LocalBus, local_bus
from clawdbot.schema import streams, subjects
from clawdbot.schema.codec import encode
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.delivery import Delivery
from clawdbot.schema.errors import (
    ClawdbotError,
    ErrorReply,
    InvalidMessage,
    NotFound,
    Overloaded,
    Unavailable,
)
from clawdbot.schema.ids import Channel, ConversationId, MessageId, Tenant
from clawdbot.schema.messages import InboundMessage, OutboundMessage
from clawdbot.schema.principal import Principal, PrincipalSigner

TENANT = Tenant("default")
PACE = Pace(concurrency=8, ack_wait_s=1.5, max_attempts=3)


def message(conversation: str, number: int, valid_s: float = 600) -> InboundMessage:
    return InboundMessage(
        platform="test",
        sender_id="user123",
        content=str(number),
        timestamp=1672531200,
        message_id=MessageId(f"{conversation}-{number}"),
        tenant=TENANT,
        conversation_id=ConversationId(conversation),
        channel=Channel("webhook"),
        accepted_at_ms=0,
        deadline_ms=Deadline.after(valid_s).ms,
    )


async def publish(bus: Bus, conversation: str, number: int, valid_s: float = 600) -> None:
    sent = message(conversation, number, valid_s)
    await bus.store_once(
        subjects.inbound(TENANT, sent.conversation_id, sent.message_id),
        sent,
        deadline=Deadline.after(5),
        valid_until=Deadline.from_ms(sent.deadline_ms),
    )


class Recorder:
    """Effects as the owner of the data sees them: each id is applied once, in order of arrival."""

    def __init__(self, expected: int, work: Callable[[InboundMessage], float] | None = None):
        self.applied: dict[str, list[int]] = defaultdict(list)
        self.attempts: dict[str, int] = defaultdict(int)
        self.told: dict[str, ErrorReply] = {}
        self.errors: dict[str, ClawdbotError] = {}
        self.running: set[str] = set()
        self.overlaps = 0
        self.all_done = asyncio.Event()
        self.started: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.holding: dict[str, asyncio.Event] = {}
        self.before: Callable[[InboundMessage], Awaitable[None]] | None = None
        self._expected = expected
        self._work = work or (lambda _: 0.0)

    def expect(self, count: int) -> None:
        self._expected = count
        self._check()

    async def handle(self, delivery: Delivery[InboundMessage]) -> None:
        said = delivery.message
        self.attempts[said.message_id] += 1
        self.started[said.message_id].set()
        if error := self.errors.get(said.message_id):
            raise error
        if self.before:
            await self.before(said)
        self.overlaps += said.conversation_id in self.running
        self.running.add(said.conversation_id)
        try:
            if gate := self.holding.get(said.message_id):
                await gate.wait()
            await asyncio.sleep(self._work(said))
            self._apply(said)
        finally:
            self.running.discard(said.conversation_id)

    def _apply(self, said: InboundMessage) -> None:
        number = int(said.content)
        if number not in self.applied[said.conversation_id]:
            self.applied[said.conversation_id].append(number)
        self._check()

    async def given_up(self, delivery: Delivery[InboundMessage], error: ErrorReply) -> None:
        assert delivery.message.message_id not in self.told, "told twice"
        self.told[delivery.message.message_id] = error
        self._check()

    def _check(self) -> None:
        done = sum(len(numbers) for numbers in self.applied.values()) + len(self.told)
        if done >= self._expected:
            self.all_done.set()


@asynccontextmanager
async def worker(
    bus: Bus, recorder: Recorder, pace: Pace = PACE, name: str = "w"
) -> AsyncIterator[OrderedConsumer[InboundMessage]]:
    ordered = await build(bus, recorder, pace, name)
    task = asyncio.create_task(ordered.run())
    try:
        yield ordered
    finally:
        await ordered.stop(Deadline.after(2))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def crash(
    bus: Bus, ordered: OrderedConsumer[InboundMessage], task: asyncio.Task[None]
) -> None:
    """End a worker as SIGKILL does: nothing is released, acknowledged or said any more."""
    await bus.client.close()
    task.cancel()
    for work in list(ordered._pull._tasks):
        work.cancel()
    await asyncio.gather(task, *ordered._pull._tasks, return_exceptions=True)


async def build(
    bus: Bus, recorder: Recorder, pace: Pace, name: str
) -> OrderedConsumer[InboundMessage]:
    source = await open_source(bus, streams.INBOUND, streams.TURN_WORKER, InboundMessage)
    owner = f"{name}-{time.monotonic_ns()}"
    return await open_consumer(bus, source, recorder, pace, (owner, 1.5))


async def finished(recorder: Recorder, within: float = 30) -> None:
    async with asyncio.timeout(within):
        await recorder.all_done.wait()


async def test_messages_of_a_conversation_are_handled_in_order(stack: LocalBus) -> None:
    recorder = Recorder(200, work=lambda _: random.uniform(0, 0.003))
    async with stack.bus("gateway") as edge, stack.bus("assistant") as bus:
        async with worker(bus, recorder):
            for number in range(20):
                for conversation in range(10):
                    await publish(edge, f"c{conversation}", number)

            await finished(recorder)

    assert all(numbers == list(range(20)) for numbers in recorder.applied.values())
    assert len(recorder.applied) == 10
    assert recorder.overlaps == 0


async def test_a_stuck_conversation_delays_no_other(stack: LocalBus) -> None:
    recorder = Recorder(6)
    recorder.holding["stuck-0"] = asyncio.Event()
    async with stack.bus("gateway") as edge, stack.bus("assistant") as bus:
        async with worker(bus, recorder):
            for number in range(30):
                await publish(edge, "stuck", number)
            for number in range(6):
                await publish(edge, "free", number)

            await finished(recorder)

            assert recorder.applied["free"] == [0, 1, 2, 3, 4, 5]
            assert recorder.applied["stuck"] == []
            recorder.holding["stuck-0"].set()


async def test_what_a_killed_worker_held_is_taken_over_once(stack: LocalBus) -> None:
    recorder = Recorder(4)
    recorder.holding["c-0"] = asyncio.Event()
    async with stack.bus("gateway") as edge, stack.bus("assistant") as survivor:
        async with stack.bus("assistant") as victim_bus:
            victim = await build(victim_bus, recorder, PACE, "victim")
            running = asyncio.create_task(victim.run())
            for number in range(4):
                await publish(edge, "c", number)
            await recorder.started["c-0"].wait()
            await crash(victim_bus, victim, running)
        del recorder.holding["c-0"]

        async with worker(survivor, recorder, name="survivor"):
            await finished(recorder)

    assert recorder.applied["c"] == [0, 1, 2, 3]


async def test_a_permanent_failure_becomes_a_dead_letter_and_is_told_once(stack: LocalBus) -> None:
    recorder = Recorder(3)
    recorder.errors["c-1"] = NotFound("no such model")
    async with (
        stack.bus("gateway") as edge,
        stack.bus("assistant") as bus,
        stack.bus("operator") as operator,
    ):
        async with worker(bus, recorder):
            for number in range(3):
                await publish(edge, "c", number)
            await finished(recorder)

        letters = await DeadLetterDesk(operator).list()

    assert recorder.applied["c"] == [0, 2]
    assert recorder.told["c-1"].code == "not_found"
    assert [letter.error.code for _, letter in letters] == ["not_found"]


async def test_a_passing_failure_is_tried_again_and_later_messages_wait(stack: LocalBus) -> None:
    recorder = Recorder(3)
    recorder.errors["c-0"] = Unavailable("not yet")
    async with stack.bus("gateway") as edge, stack.bus("assistant") as bus:
        async with worker(bus, recorder):
            for number in range(3):
                await publish(edge, "c", number)
            await recorder.started["c-0"].wait()
            assert recorder.applied["c"] == []
            del recorder.errors["c-0"]
            await finished(recorder)

    assert recorder.applied["c"] == [0, 1, 2]
    assert recorder.attempts["c-0"] >= 2


async def test_attempts_are_exhausted_across_workers(stack: LocalBus) -> None:
    recorder = Recorder(1)
    recorder.errors["c-0"] = Unavailable("never")
    async with stack.bus("gateway") as edge, stack.bus("assistant") as bus:
        await publish(edge, "c", 0)
        async with worker(bus, recorder):
            await recorder.started["c-0"].wait()
        # The first worker was stopped between attempts; the second goes on counting.
        async with worker(bus, recorder):
            await finished(recorder)

    assert recorder.told["c-0"].code == "unavailable"
    assert recorder.attempts["c-0"] <= PACE.max_attempts + 1


async def test_expired_work_is_refused_unstarted(stack: LocalBus) -> None:
    recorder = Recorder(1)
    async with stack.bus("gateway") as edge, stack.bus("assistant") as bus:
        await publish(edge, "c", 0, valid_s=-1)

        async with worker(bus, recorder):
            await finished(recorder)

    assert recorder.told["c-0"].code == "deadline_exceeded"
    assert recorder.attempts["c-0"] == 0


async def test_an_undecodable_message_is_buried_and_passed_over(stack: LocalBus) -> None:
    recorder = Recorder(1)
    async with (
        stack.bus("gateway") as edge,
        stack.bus("assistant") as bus,
        stack.bus("operator") as operator,
    ):
        await edge.client.jetstream().publish("claw.in.default.c.broken", b"\xc1 not msgpack")
        await publish(edge, "c", 1)

        async with worker(bus, recorder):
            await finished(recorder)
        letters = await DeadLetterDesk(operator).list()

    assert recorder.applied["c"] == [1]
    assert [letter.error.code for _, letter in letters] == ["invalid"]
    assert letters[0][1].body == b"\xc1 not msgpack"


async def test_a_paused_worker_that_wakes_up_can_commit_nothing(stack: LocalBus) -> None:
    async with stack.bus("assistant") as bus:
        bucket = await leases.open_bucket(bus, streams.progress(streams.INBOUND))
        progress = Progress(bucket)
        before_the_pause = await progress.get("default.c")
        await progress.done("default.c", before_the_pause, 7, 1)

        with pytest.raises(leases.LeaseLost):
            await progress.done("default.c", before_the_pause, 3, 1)

        assert (await progress.get("default.c")).sequence == 7


async def test_a_stopped_worker_hands_its_conversation_back_at_once(stack: LocalBus) -> None:
    recorder = Recorder(2)
    async with stack.bus("gateway") as edge, stack.bus("assistant") as bus:
        recorder.errors["c-0"] = Unavailable("later")
        await publish(edge, "c", 0)
        await publish(edge, "c", 1)
        async with worker(bus, recorder):
            await recorder.started["c-0"].wait()
        del recorder.errors["c-0"]

        async with worker(bus, recorder):
            await finished(recorder, within=1.4)

    assert recorder.applied["c"] == [0, 1]


async def test_a_redriven_dead_letter_is_handled_again(stack: LocalBus) -> None:
    recorder = Recorder(1)
    recorder.errors["c-0"] = NotFound("no such model")
    async with (
        stack.bus("gateway") as edge,
        stack.bus("assistant") as bus,
        stack.bus("operator") as operator,
    ):
        desk = DeadLetterDesk(operator)
        async with worker(bus, recorder):
            await publish(edge, "c", 0)
            await finished(recorder)
            recorder.errors.clear()
            recorder.all_done.clear()
            [(number, _)] = await desk.list()

            await desk.redrive(number)
            await finished(recorder)

        assert await desk.list() == []
    assert recorder.applied["c"] == [0]


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_any_schedule_of_crashes_keeps_order_and_loses_nothing(
    stack: LocalBus, seed: int
) -> None:
    """A model: per conversation the numbers 0..n, applied once and in order, whatever happens."""
    rng = random.Random(seed)
    per_conversation, conversations = 12, 6
    recorder = Recorder(per_conversation * conversations, work=lambda _: rng.uniform(0, 0.02))
    async with stack.bus("gateway") as edge, AsyncExitStack() as connections:
        crew: list[tuple[Bus, OrderedConsumer[InboundMessage], asyncio.Task[None]]] = []

        async def hire() -> None:
            bus = await connections.enter_async_context(stack.bus("assistant"))
            hired = await build(bus, recorder, PACE, f"w{len(crew)}")
            crew.append((bus, hired, asyncio.create_task(hired.run())))

        for _ in range(3):
            await hire()
        for number in range(per_conversation):
            for conversation in range(conversations):
                await publish(edge, f"c{conversation}", number)
            if number % 4 == 1:
                await crash(*crew.pop(rng.randrange(len(crew))))
                await hire()
        await finished(recorder, within=60)
        for _, hired, task in crew:
            await hired.stop(Deadline.after(1))
            await asyncio.gather(task, return_exceptions=True)

    assert all(numbers == list(range(per_conversation)) for numbers in recorder.applied.values())
    assert recorder.told == {}


async def test_replies_of_one_channel_are_ordered_by_conversation(stack: LocalBus) -> None:
    seen: list[int] = []
    done = asyncio.Event()

    class Deliverer:
        async def handle(self, delivery: Delivery[OutboundMessage]) -> None:
            seen.append(int(delivery.message.content))
            if len(seen) == 5:
                done.set()

        async def given_up(self, delivery: Delivery[OutboundMessage], error: ErrorReply) -> None:
            raise AssertionError

    channel = Channel("webhook")
    async with stack.bus("assistant") as author, stack.bus("gateway") as bus:
        source = await open_source(
            bus, streams.OUTBOUND, streams.delivery(channel), OutboundMessage
        )
        ordered = await open_consumer(bus, source, Deliverer(), PACE, ("w", 1.5))
        task = asyncio.create_task(ordered.run())
        for number in range(5):
            reply = OutboundMessage(
                channel=channel,
                tenant=TENANT,
                conversation_id=ConversationId("c"),
                message_id=MessageId(f"m{number}"),
                content=str(number),
                created_at_ms=0,
            )
            subject = subjects.outbound(channel, TENANT, reply.conversation_id, reply.message_id, 0)
            await author.store_once(subject, reply, deadline=Deadline.after(5))
        async with asyncio.timeout(10):
            await done.wait()
        await ordered.stop(Deadline.after(1))
        await asyncio.gather(task, return_exceptions=True)

    assert seen == [0, 1, 2, 3, 4]


async def test_a_pause_longer_than_lease_and_ack_wait_loses_nothing(stack: LocalBus) -> None:
    """The broker then redelivers our own doorbell to us: answering it would end it."""
    recorder = Recorder(1)

    async def stall(said: InboundMessage) -> None:
        if recorder.attempts[said.message_id] == 1:
            time.sleep(2.2)  # noqa: ASYNC251 -- the whole process stands still, as under SIGSTOP
            await asyncio.sleep(0.5)

    recorder.before = stall
    async with stack.bus("gateway") as edge, stack.bus("assistant") as bus:
        async with worker(bus, recorder):
            await publish(edge, "c", 0)
            await finished(recorder)

    assert recorder.applied["c"] == [0]
    assert recorder.attempts["c-0"] >= 2


async def test_one_stale_read_does_not_end_a_doorbell(stack: LocalBus) -> None:
    recorder = Recorder(1)
    async with stack.bus("gateway") as edge, stack.bus("assistant") as bus:
        right, answers = bus.read_next, iter([True])

        async def stale_once(*args: object, **more: object) -> object:
            return None if next(answers, False) else await right(*args, **more)  # type: ignore[arg-type]  # passed on

        bus.read_next = stale_once  # type: ignore[method-assign]  # a follower that lags
        async with worker(bus, recorder):
            await publish(edge, "c", 0)
            await finished(recorder)

    assert recorder.applied["c"] == [0]


async def test_a_reused_sequence_number_is_handled_all_the_same(stack: LocalBus) -> None:
    """The stream lost its tail in a power cut, the record of what is done did not."""
    recorder = Recorder(1)
    async with stack.bus("gateway") as edge, stack.bus("assistant") as bus:
        bucket = await leases.open_bucket(bus, streams.progress(streams.INBOUND))
        progress = Progress(bucket)
        yesterday_ns = time.time_ns() - 86_400 * 10**9
        await progress.done("default.c", await progress.get("default.c"), 5, yesterday_ns)

        async with worker(bus, recorder):
            await publish(edge, "c", 0)
            await finished(recorder)

    assert recorder.applied["c"] == [0]


async def test_work_cut_off_by_a_shutdown_is_handed_back_at_once(stack: LocalBus) -> None:
    recorder = Recorder(1)
    recorder.holding["c-0"] = asyncio.Event()
    async with stack.bus("gateway") as edge, stack.bus("assistant") as bus:
        await publish(edge, "c", 0)
        stubborn = await build(bus, recorder, PACE, "stubborn")
        task = asyncio.create_task(stubborn.run())
        await recorder.started["c-0"].wait()
        await stubborn.stop(Deadline.after(0.1))
        await asyncio.gather(task, return_exceptions=True)
        del recorder.holding["c-0"]

        async with worker(bus, recorder):
            await finished(recorder, within=1.4)

    assert recorder.applied["c"] == [0]


async def test_a_message_at_an_impossible_address_is_buried(stack: LocalBus) -> None:
    recorder = Recorder(1)
    async with (
        stack.bus("gateway") as edge,
        stack.bus("assistant") as bus,
        stack.bus("operator") as operator,
    ):
        await edge.client.jetstream().publish("claw.in.too.short", b"lost")
        async with worker(bus, recorder):
            await publish(edge, "c", 0)
            await finished(recorder)
            letters = []
            while not letters:
                letters = await DeadLetterDesk(operator).list()

    assert letters[0][1].subject == "claw.in.too.short"


async def test_a_malformed_deadline_is_buried_and_passed_over(stack: LocalBus) -> None:
    recorder = Recorder(1)
    async with stack.bus("gateway") as edge, stack.bus("assistant") as bus:
        broken = encode(message("c", 0))
        headers = {"Claw-Deadline": "tomorrow", "Claw-Schema": InboundMessage.SCHEMA}
        await edge.client.jetstream().publish("claw.in.default.c.c-0", broken, headers=headers)
        await publish(edge, "c", 1)

        async with worker(bus, recorder):
            await finished(recorder)

    assert recorder.applied["c"] == [1]


async def test_a_handler_that_hangs_is_ended_by_the_deadline(stack: LocalBus) -> None:
    recorder = Recorder(1)
    recorder.holding["c-0"] = asyncio.Event()
    async with stack.bus("gateway") as edge, stack.bus("assistant") as bus:
        async with worker(bus, recorder):
            await publish(edge, "c", 0, valid_s=1.0)
            await finished(recorder)

    assert recorder.told["c-0"].code == "deadline_exceeded"


async def test_a_long_retry_after_holds_neither_slot_nor_lease(stack: LocalBus) -> None:
    recorder = Recorder(1)
    pace = Pace(concurrency=1, ack_wait_s=1.5, max_attempts=3)
    recorder.errors["slow-0"] = Overloaded("come back later", retry_after_s=3600)
    async with stack.bus("gateway") as edge, stack.bus("assistant") as bus:
        async with worker(bus, recorder, pace):
            await publish(edge, "slow", 0)
            await recorder.started["slow-0"].wait()
            await publish(edge, "free", 0)
            await finished(recorder)
            # A later message of the same conversation does not bring the attempt forward.
            await publish(edge, "slow", 1)
            await publish(edge, "free", 1)
            recorder.all_done.clear()
            recorder.expect(2)
            await finished(recorder)

    assert recorder.applied["free"] == [0, 1]
    assert recorder.applied["slow"] == []
    assert recorder.attempts["slow-0"] == 1


async def test_a_free_slot_is_used_while_another_is_held(stack: LocalBus) -> None:
    recorder = Recorder(4)
    recorder.holding["stuck-0"] = asyncio.Event()
    pace = Pace(concurrency=4, ack_wait_s=1.5, max_attempts=3)
    async with stack.bus("gateway") as edge, stack.bus("assistant") as bus:
        async with worker(bus, recorder, pace):
            for number in range(3):
                await publish(edge, f"quick{number}", 0)
            await publish(edge, "stuck", 0)
            await recorder.started["stuck-0"].wait()
            await publish(edge, "free", 0)

            await finished(recorder, within=3)
            recorder.holding["stuck-0"].set()


async def test_messages_are_pulled_soon_after_the_broker_came_back(stack: LocalBus) -> None:
    recorder = Recorder(1)
    async with stack.bus("gateway") as edge, stack.bus("assistant") as bus:
        async with worker(bus, recorder):
            await stack.broker.kill()
            await stack.broker.start()
            async with asyncio.timeout(10):
                while not (edge.is_connected and bus.is_connected):
                    await asyncio.sleep(0.01)
            await publish(edge, "c", 0)

            await finished(recorder, within=3)


async def test_a_channel_that_starts_to_deliver_does_not_repeat_the_past(
    tmp_path: Path,
) -> None:
    channel, seen = Channel("webhook"), asyncio.Queue[str]()

    class Deliverer:
        async def handle(self, delivery: Delivery[OutboundMessage]) -> None:
            seen.put_nowait(delivery.message.content)

        async def given_up(self, delivery: Delivery[OutboundMessage], error: ErrorReply) -> None:
            raise AssertionError

    async def reply(author: Bus, number: int) -> None:
        said = OutboundMessage(
            channel=channel,
            tenant=TENANT,
            conversation_id=ConversationId("c"),
            message_id=MessageId(f"m{number}"),
            content=str(number),
            created_at_ms=0,
        )
        where = subjects.outbound(channel, TENANT, said.conversation_id, said.message_id, 0)
        await author.store_once(where, said, deadline=Deadline.after(5))

    async with local_bus(tmp_path) as stack:
        async with stack.bus("assistant") as author, stack.bus("gateway") as bus:
            await reply(author, 0)
            webhook = stack.config.platforms.webhook.model_copy(
                update={"callback_url": "http://127.0.0.1:9/replies"}
            )
            platforms = stack.config.platforms.model_copy(update={"webhook": webhook})
            await provision(stack.config.model_copy(update={"platforms": platforms}), stack.secrets)
            await reply(author, 1)
            source = await open_source(
                bus, streams.OUTBOUND, streams.delivery(channel), OutboundMessage
            )
            ordered = await open_consumer(bus, source, Deliverer(), PACE, ("w", 1.5))
            task = asyncio.create_task(ordered.run())
            async with asyncio.timeout(10):
                first = await seen.get()
            await ordered.stop(Deadline.after(1))
            await asyncio.gather(task, return_exceptions=True)

    assert first == "1"


async def test_a_redriven_message_has_an_id_of_its_own(stack: LocalBus) -> None:
    """Under its old id the new answer would be a copy of the apology, and refused."""
    recorder = Recorder(1)
    recorder.errors["c-0"] = NotFound("no such model")
    async with (
        stack.bus("gateway") as edge,
        stack.bus("assistant") as bus,
        stack.bus("operator") as operator,
    ):
        async with worker(bus, recorder):
            await publish(edge, "c", 0)
            await finished(recorder)
            [(number, _)] = await DeadLetterDesk(operator).list()
            subject = await DeadLetterDesk(operator).redrive(number)
            kept = await operator.read_last(
                streams.INBOUND, subject, InboundMessage, deadline=Deadline.after(5)
            )

    assert kept is not None
    assert kept.message.message_id == subject.rpartition(".")[2] != "c-0"


async def test_a_redriven_reply_keeps_its_part(stack: LocalBus) -> None:
    channel = Channel("webhook")
    reply = OutboundMessage(
        channel=channel,
        tenant=TENANT,
        conversation_id=ConversationId("c"),
        message_id=MessageId("m"),
        part=2,
        content="hello",
        created_at_ms=0,
    )
    raw = Raw("claw.out.webhook.default.c.m.2", 1, {}, encode(reply), 0)
    async with stack.bus("assistant") as author, stack.bus("operator") as operator:
        await DeadLetters(author).bury(streams.OUTBOUND, "w", raw, 1, NotFound("gone"))
        [(number, _)] = await DeadLetterDesk(operator).list()

        subject = await DeadLetterDesk(operator).redrive(number)

    assert subjects.parse_outbound(subject).part == 2


async def test_a_letter_whose_principal_expired_is_kept_and_the_reason_said(
    stack: LocalBus,
) -> None:
    principal = Principal(
        tenant=TENANT,
        user="ann",
        scopes=frozenset(),
        conversation_id=ConversationId("c"),
        channel=Channel("webhook"),
    )
    key = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    old = PrincipalSigner(key, ttl_s=-3600).sign(principal)
    raw = Raw("claw.in.default.c.c-0", 1, {"Claw-Principal": old}, encode(message("c", 0)), 0)
    async with stack.bus("assistant") as author, stack.bus("operator") as operator:
        await DeadLetters(author).bury(streams.INBOUND, "w", raw, 1, NotFound("gone"))
        desk = DeadLetterDesk(operator)
        [(number, _)] = await desk.list()

        with pytest.raises(InvalidMessage, match="no longer believed"):
            await desk.redrive(number)

        assert len(await desk.list()) == 1
