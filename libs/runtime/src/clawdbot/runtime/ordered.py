"""Handles stored messages in the order of their conversation, on any number of replicas.

A delivery is only a doorbell. Whoever hears it takes the conversation's lease and then handles
*all* of its messages after `progress`, in stream order, moving `progress` by compare-and-set. So
nothing overtakes, a worker that lost its lease can commit nothing, and no conversation waits for
another. The newest doorbell that a worker heard of its conversation stays unacknowledged until
everything up to it is done: when the worker dies, its redelivery calls the next one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Generic, TypeVar

import nats.errors
from nats.aio.msg import Msg
from nats.js import errors as js_errors

from clawdbot.runtime import metrics
from clawdbot.runtime.attempts import Attempts, OrderedHandler, Pace, PutOff
from clawdbot.runtime.bus import Bus
from clawdbot.runtime.deadletters import DeadLetters
from clawdbot.runtime.delivery import attempt, delay_s
from clawdbot.runtime.kept import Kept, Raw, Undecodable, nanoseconds
from clawdbot.runtime.leases import LeaseLost, Leases, Mark, Progress, open_bucket
from clawdbot.runtime.pull import PullLoop
from clawdbot.schema import streams, subjects
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import InvalidMessage, Unavailable
from clawdbot.schema.streams import Consumer, Stream
from clawdbot.schema.wire import Wire

log = logging.getLogger(__name__)

M = TypeVar("M", bound=Wire)

READ_TIMEOUT_S = 5.0
LONGEST_NAK_S = 2.0
AT_A_TIME = 20
"""Messages of one conversation before others get a turn at its slot."""
GONE_AFTER = 5
"""Rings after which a message that cannot be found was purged or has expired."""


@dataclass(frozen=True)
class Source(Generic[M]):
    """What is consumed."""

    stream: Stream
    consumer: Consumer
    kind: type[M]
    floor: int
    """First sequence that this consumer was provisioned for."""


class Verdict(Enum):
    """How a doorbell was answered."""

    EMPTY = auto()
    """No message was left."""
    TAKEN = auto()
    """Another worker holds the conversation."""
    LATER = auto()
    """The rest is for whoever hears the doorbell when it rings again."""


class Held:
    """A conversation that this process works on, with the doorbell it has to answer.

    Args:
        bell: the doorbell that called.
    """

    def __init__(self, bell: Msg) -> None:
        self.bell = bell
        self.done = 0
        """Everything up to this sequence is done, as far as this process knows."""
        self.wait_s = 0.0
        """When the verdict is LATER: how much later."""

    @property
    def rung_at(self) -> int:
        """Sequence of the message that rang."""
        return self.bell.metadata.sequence.stream

    def hear(self, msg: Msg) -> Msg | None:
        """Keep the newer doorbell; return the one that is answered by keeping the other."""
        sequence = msg.metadata.sequence.stream
        if sequence < self.rung_at:
            return msg
        # The same message again is our own doorbell, redelivered: answering it would end it.
        answered = None if sequence == self.rung_at else self.bell
        self.bell = msg
        return answered


class OrderedConsumer(Generic[M]):
    """Feeds a handler from one durable consumer."""

    def __init__(  # noqa: PLR0913 -- wired in one place, `Runtime.consume`
        self,
        bus: Bus,
        source: Source[M],
        leases: Leases,
        progress: Progress,
        attempts: Attempts[M],
        dead_letters: DeadLetters,
        pace: Pace,
    ) -> None:
        self._bus = bus
        self._source = source
        self._name = source.consumer.durable
        self._leases = leases
        self._progress = progress
        self._attempts = attempts
        self._dead_letters = dead_letters
        self._pace = pace
        self._held: dict[str, Held] = {}
        self._stopping = attempts.stopping
        self._pull = PullLoop(bus, source.consumer, pace.concurrency, self._doorbell)

    async def run(self) -> None:
        """Work until `stop` is called."""
        await self._pull.run()

    async def stop(self, deadline: Deadline) -> None:
        """Finish the messages in hand by `deadline` and hand back the rest."""
        self._stopping.set()
        await self._pull.stop(deadline)

    async def _doorbell(self, msg: Msg) -> None:
        if msg.metadata.num_delivered > 1:
            metrics.redeliveries.labels(self._name).inc()
        try:
            lane = subjects.lane(msg.subject)
        except InvalidMessage as exc:
            await self._bury_stray(msg, exc)
            return
        if self._stopping.is_set():
            await _settle(msg.nak())
        elif held := self._held.get(lane.key):
            if answered := held.hear(msg):
                await _settle(answered.ack())
        else:
            await self._work_on(lane, Held(msg))

    async def _bury_stray(self, msg: Msg, error: InvalidMessage) -> None:
        """Give up a message whose address is none: no conversation could ever reach it."""
        stray = Raw.delivered(msg)
        buried = await attempt(
            self._dead_letters.bury(self._source.stream, self._name, stray, 1, error)
        )
        await _settle(msg.ack() if buried.error is None else msg.nak(delay=LONGEST_NAK_S))

    async def _work_on(self, lane: subjects.Lane, held: Held) -> None:
        self._held[lane.key] = held
        try:
            outcome = await attempt(self._answer_doorbell(lane, held))
        except asyncio.CancelledError:
            await _settle(held.bell.nak())
            raise
        finally:
            # From here on a doorbell starts a worker of its own: nothing may be awaited in between.
            del self._held[lane.key]
        bell = held.bell
        rings = min(bell.metadata.num_delivered, 6)
        if outcome.error is not None:
            log.warning(
                "conversation left for later",
                extra={"consumer": self._name, "lane": lane.key, "reason": outcome.error.message},
            )
            await _settle(bell.nak(delay=delay_s(rings, outcome.error)))
        elif outcome.value is Verdict.LATER:
            await _settle(bell.nak(delay=held.wait_s))
        elif outcome.value is Verdict.EMPTY and _is_answered(held, rings):
            await _settle(bell.ack())
        else:
            await _settle(bell.nak(delay=min(0.1 * 2**rings, LONGEST_NAK_S)))

    async def _answer_doorbell(self, lane: subjects.Lane, held: Held) -> Verdict:
        is_repeat = held.bell.metadata.num_delivered > 1
        mark = await self._mark(lane, held)
        if held.rung_at <= mark.sequence and not is_repeat:
            return Verdict.EMPTY
        lease = await self._leases.acquire(lane.key)
        if lease is None:
            return Verdict.TAKEN
        work = asyncio.create_task(self._drain(lane, held, is_repeat))
        keep = asyncio.create_task(lease.keep())
        ring = asyncio.create_task(self._stay_unanswered(held))
        try:
            with metrics.inflight.labels(self._name).track_inprogress():
                await asyncio.wait({work, keep}, return_when=asyncio.FIRST_COMPLETED)
            return await self._verdict(work)
        finally:
            # What was cut off must not run on beside whoever takes over.
            await _cancel(work)
            await lease.release()
            await _cancel(keep, ring)

    async def _mark(self, lane: subjects.Lane, held: Held) -> Mark:
        """Return how far the conversation is done."""
        mark = await self._progress.get(lane.key)
        rung_ns = nanoseconds(held.bell.metadata.timestamp)
        if held.rung_at <= mark.sequence and mark.is_older_than(rung_ns):
            # The stream lost its tail (a power cut with relaxed durability, an old backup) and
            # counts anew: what was done under these numbers were other messages.
            log.error("stream sequence reused", extra={"lane": lane.key, "stream": self._name})
            mark = await self._progress.rewound(lane.key, mark, held.rung_at - 1)
        held.done = mark.sequence
        return mark

    async def _verdict(self, work: asyncio.Task[Verdict]) -> Verdict:
        try:
            if work.done():
                return await work
        except LeaseLost:
            log.debug("progress was moved by another worker")
        metrics.leases_lost.labels(self._name).inc()
        log.warning("lease lost", extra={"consumer": self._name})
        return Verdict.TAKEN

    async def _stay_unanswered(self, held: Held) -> None:
        """Keep the broker from handing the doorbell to somebody else."""
        while True:
            await asyncio.sleep(self._pace.ack_wait_s / 3)
            await _settle(held.bell.in_progress())

    async def _drain(self, lane: subjects.Lane, held: Held, is_repeat: bool) -> Verdict:
        mark = await self._progress.get(lane.key)
        for _ in range(AT_A_TIME):
            held.done = mark.sequence
            if self._stopping.is_set():
                return Verdict.LATER
            try:
                kept = await self._next(lane, mark)
                if kept is None:
                    return Verdict.EMPTY
                mark = await self._attempts.settle(lane.key, mark, kept, is_repeat)
            except Undecodable as exc:
                mark = await self._pass_over(lane, mark, exc)
            except PutOff as exc:
                held.wait_s = 0.0 if self._stopping.is_set() else exc.wait_s
                return Verdict.LATER
        held.wait_s = 0.1
        return Verdict.LATER

    async def _next(self, lane: subjects.Lane, mark: Mark) -> Kept[M] | None:
        return await self._bus.read_next(
            self._source.stream,
            lane.filter_subject,
            max(mark.sequence + 1, self._source.floor),
            self._source.kind,
            deadline=Deadline.after(READ_TIMEOUT_S),
        )

    async def _pass_over(self, lane: subjects.Lane, mark: Mark, broken: Undecodable) -> Mark:
        raw = broken.raw
        await self._dead_letters.bury(self._source.stream, self._name, raw, 1, broken)
        return await self._progress.done(lane.key, mark, raw.sequence, raw.stored_at_ns)


async def open_source(bus: Bus, stream: Stream, consumer: Consumer, kind: type[M]) -> Source[M]:
    """Return what a provisioned consumer gives.

    Raises:
        Unavailable: the broker is not provisioned or does not answer.
    """
    try:
        found = await bus.jetstream.consumer_info(stream.name, consumer.durable)
    except (js_errors.Error, nats.errors.Error, TimeoutError, OSError) as exc:
        raise Unavailable(f"the consumer {consumer.durable} cannot be opened") from exc
    return Source(stream, consumer, kind, found.config.opt_start_seq or 1)


async def open_consumer(
    bus: Bus,
    source: Source[M],
    handler: OrderedHandler[M],
    pace: Pace,
    lease: tuple[str, float],
) -> OrderedConsumer[M]:
    """Return a consumer on the provisioned buckets of its stream.

    Args:
        bus: the connection.
        source: what to consume.
        handler: what to do.
        pace: how many at once and how often.
        lease: under which name conversations are held, and for how many seconds.

    Raises:
        Unavailable: the broker is not provisioned or does not answer.
    """
    stream, consumer = source.stream, source.consumer
    leases = Leases(await open_bucket(bus, streams.leases(stream)), *lease)
    progress = Progress(await open_bucket(bus, streams.progress(stream)))
    letters = DeadLetters(bus)
    place = (stream, consumer.durable)
    attempts = Attempts(handler, progress, letters, place, pace.max_attempts)
    return OrderedConsumer(bus, source, leases, progress, attempts, letters, pace)


def _is_answered(held: Held, rings: int) -> bool:
    # A follower of the broker may not show yet what already rang: then it is worth another look.
    return held.done >= held.rung_at or rings >= GONE_AFTER


async def _settle(answer: Awaitable[None]) -> None:
    """Send an acknowledgement; one that is lost only brings the doorbell again."""
    try:
        await answer
    except (nats.errors.Error, OSError) as exc:
        log.warning("acknowledgement not sent", extra={"error": type(exc).__name__})


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
