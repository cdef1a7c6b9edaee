"""Handles stored messages in the order of their conversation, on any number of replicas.

A delivery is only a doorbell. Whoever hears it takes the conversation's lease and then handles
*all* of its messages after `progress`, in stream order, moving `progress` by compare-and-set. So
nothing overtakes, a worker that lost its lease can commit nothing, and no conversation waits for
another. The doorbell that brought the lease stays unacknowledged until the conversation is
empty: when the worker dies, its redelivery calls the next one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Generic, Protocol, TypeVar

import nats.errors
from nats.aio.msg import Msg

from clawdbot.runtime import headers, metrics
from clawdbot.runtime.bus import Bus, Kept, Undecodable
from clawdbot.runtime.deadletters import DeadLetters
from clawdbot.runtime.delivery import attempt, delay_s, may_retry
from clawdbot.runtime.leases import LeaseLost, Leases, Mark, Progress
from clawdbot.runtime.logging import log_context
from clawdbot.runtime.pull import PullLoop
from clawdbot.runtime.telemetry import SpanKind, extracted, queue_span, span
from clawdbot.schema import subjects
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.delivery import Delivery
from clawdbot.schema.errors import ClawdbotError, DeadlineExceeded, ErrorReply, Internal
from clawdbot.schema.streams import Consumer, Stream
from clawdbot.schema.wire import Wire

log = logging.getLogger(__name__)

M = TypeVar("M", bound=Wire)

READ_TIMEOUT_S = 5.0
DEFAULT_DEADLINE_S = 3600.0
LONGEST_NAK_S = 2.0


class OrderedHandler(Protocol[M]):
    """Decides what a message does."""

    async def handle(self, delivery: Delivery[M]) -> None:
        """Do what the message asks; every effect carries an id derived from it."""

    async def given_up(self, delivery: Delivery[M], error: ErrorReply) -> None:
        """Tell whoever waits; called once the dead letter is stored."""


@dataclass(frozen=True)
class Pace:
    """How many at once, and how long to wait for what."""

    concurrency: int
    ack_wait_s: float
    max_attempts: int


@dataclass
class Held:
    """A conversation that this process works on."""

    has_rung: bool = False
    """Whether a doorbell was heard since the conversation was last seen empty."""


class Verdict(Enum):
    """How a doorbell was answered."""

    EMPTY = auto()
    """Every message of the conversation is done."""
    TAKEN = auto()
    """Another worker holds the conversation."""
    UNFINISHED = auto()
    """The rest is for whoever hears the doorbell next."""


class OrderedConsumer(Generic[M]):
    """Feeds a handler from one durable consumer."""

    def __init__(  # noqa: PLR0913 -- wired in one place, `Runtime.consume`
        self,
        bus: Bus,
        stream: Stream,
        consumer: Consumer,
        kind: type[M],
        handler: OrderedHandler[M],
        leases: Leases,
        progress: Progress,
        dead_letters: DeadLetters,
        pace: Pace,
    ) -> None:
        self._bus = bus
        self._stream = stream
        self._name = consumer.durable
        self._kind = kind
        self._handler = handler
        self._leases = leases
        self._progress = progress
        self._dead_letters = dead_letters
        self._pace = pace
        self._held: dict[str, Held] = {}
        self._stopping = asyncio.Event()
        self._pull = PullLoop(bus, consumer, pace.concurrency, self._doorbell)

    async def run(self) -> None:
        """Work until `stop` is called."""
        await self._pull.run()

    async def stop(self, grace_s: float) -> None:
        """Finish the messages in hand within `grace_s` seconds and hand back the rest."""
        self._stopping.set()
        self._pull.stop()
        await self._pull.finish(grace_s)

    async def _doorbell(self, msg: Msg) -> None:
        if msg.metadata.num_delivered > 1:
            metrics.redeliveries.labels(self._name).inc()
        lane = subjects.lane(msg.subject)
        if self._stopping.is_set():
            await _settle(msg.nak())
        elif held := self._held.get(lane.key):
            # Whoever works here looks once more before it leaves, so this one has been heard.
            held.has_rung = True
            await _settle(msg.ack())
        else:
            await self._work_on(lane, msg)

    async def _work_on(self, lane: subjects.Lane, msg: Msg) -> None:
        held = self._held[lane.key] = Held()
        try:
            outcome = await attempt(self._answer_doorbell(lane, held, msg))
        finally:
            # From here on a doorbell starts a worker of its own: nothing may be awaited in between.
            del self._held[lane.key]
        if outcome.error is not None:
            log.warning(
                "conversation left for later",
                extra={"consumer": self._name, "lane": lane.key, "reason": outcome.error.message},
            )
            tries = min(msg.metadata.num_delivered, 6)
            await _settle(msg.nak(delay=delay_s(tries, outcome.error)))
        elif outcome.value is Verdict.EMPTY and not held.has_rung:
            await _settle(msg.ack())
        elif outcome.value is Verdict.TAKEN:
            delay = min(0.1 * 2**msg.metadata.num_delivered, LONGEST_NAK_S)
            await _settle(msg.nak(delay=delay))
        else:
            await _settle(msg.nak())

    async def _answer_doorbell(self, lane: subjects.Lane, held: Held, msg: Msg) -> Verdict:
        is_repeat = msg.metadata.num_delivered > 1
        mark = await self._progress.get(lane.key)
        if msg.metadata.sequence.stream <= mark.sequence and not is_repeat:
            return Verdict.EMPTY
        lease = await self._leases.acquire(lane.key)
        if lease is None:
            return Verdict.TAKEN
        work = asyncio.create_task(self._drain(lane, held, is_repeat))
        keep = asyncio.create_task(lease.keep())
        ring = asyncio.create_task(self._stay_unanswered(msg))
        try:
            with metrics.inflight.labels(self._name).track_inprogress():
                await asyncio.wait({work, keep}, return_when=asyncio.FIRST_COMPLETED)
            return await self._verdict(work)
        finally:
            # What was cut off must not run on beside whoever takes over.
            await _cancel(work)
            await lease.release()
            await _cancel(keep, ring)

    async def _verdict(self, work: asyncio.Task[Verdict]) -> Verdict:
        try:
            if work.done():
                return await work
        except LeaseLost:
            log.debug("progress was moved by another worker")
        metrics.leases_lost.labels(self._name).inc()
        log.warning("lease lost", extra={"consumer": self._name})
        return Verdict.TAKEN

    async def _stay_unanswered(self, msg: Msg) -> None:
        """Keep the broker from handing the doorbell to somebody else."""
        while True:
            await asyncio.sleep(self._pace.ack_wait_s / 3)
            await _settle(msg.in_progress())

    async def _drain(self, lane: subjects.Lane, held: Held, is_repeat: bool) -> Verdict:
        mark = await self._progress.get(lane.key)
        while not self._stopping.is_set():
            held.has_rung = False
            try:
                kept = await self._bus.read_next(
                    self._stream,
                    lane.filter_subject,
                    mark.sequence + 1,
                    self._kind,
                    deadline=Deadline.after(READ_TIMEOUT_S),
                )
            except Undecodable as exc:
                mark = await self._pass_over(lane, mark, exc)
                continue
            if kept is None:
                if held.has_rung:
                    continue
                return Verdict.EMPTY
            settled = await self._one(lane, mark, kept, is_repeat)
            if settled is None:
                break
            mark = settled
        return Verdict.UNFINISHED

    async def _pass_over(self, lane: subjects.Lane, mark: Mark, broken: Undecodable) -> Mark:
        await self._dead_letters.bury_undecodable(self._stream, self._name, broken)
        return await self._progress.done(lane.key, mark, broken.sequence)

    async def _one(
        self, lane: subjects.Lane, mark: Mark, kept: Kept[M], is_repeat: bool
    ) -> Mark | None:
        """Handle one message to its end: done, or dead and told; None when the process stops."""
        parent = extracted(kept.headers)
        template = ".".join(kept.subject.split(".")[:2])
        attempts = mark.attempts_at(kept.sequence)
        if attempts == 0:
            queue_span(f"queue {template}", parent, kept.stored_at_ns)
            waited = time.time() - kept.stored_at_ns / 1e9
            metrics.queue_age_seconds.labels(self._name).observe(max(waited, 0.0))
        with (
            span(
                f"process {template}",
                kind=SpanKind.CONSUMER,
                parent=parent,
                messaging__system="nats",
                clawdbot__attempt=attempts + 1,
            ),
            log_context(lane=lane.key, message_id=_message_id(kept.subject)),
        ):
            if is_repeat:
                # A crash leaves no other trace: count the attempt before it can happen again.
                mark = await self._progress.attempted(lane.key, mark, kept.sequence, attempts + 1)
            settled = await self._until_settled(lane, mark, kept, attempts + 1)
            if settled is None:
                return None
            return await self._progress.done(lane.key, settled, kept.sequence)

    async def _until_settled(
        self, lane: subjects.Lane, mark: Mark, kept: Kept[M], attempts: int
    ) -> Mark | None:
        while True:
            error = await self._attempt(kept, attempts)
            if error is None:
                return mark
            if not may_retry(error) or attempts >= self._pace.max_attempts:
                await self._give_up(kept, attempts, error)
                return mark
            attempts += 1
            mark = await self._progress.attempted(lane.key, mark, kept.sequence, attempts - 1)
            if await self._stops_within(delay_s(attempts - 1, error)):
                return None

    async def _attempt(self, kept: Kept[M], attempts: int) -> ClawdbotError | None:
        delivery = _delivery(kept, attempts)
        if attempts > self._pace.max_attempts:
            return Internal("the worker died at every attempt")
        if delivery.deadline.remaining_s() <= 0:
            return DeadlineExceeded("the answer was no longer wanted when its turn came")
        started = time.perf_counter()
        outcome = await attempt(self._handler.handle(delivery))
        elapsed = time.perf_counter() - started
        metrics.handle_seconds.labels(self._name, outcome.label).observe(elapsed)
        log.info(
            "handled",
            extra={
                "consumer": self._name,
                "outcome": outcome.label,
                "attempt": attempts,
                "duration_ms": round(elapsed * 1000),
                **({"reason": outcome.error.message} if outcome.error else {}),
            },
        )
        return outcome.error

    async def _give_up(self, kept: Kept[M], attempts: int, error: ClawdbotError) -> None:
        wire = await self._dead_letters.bury(self._stream, self._name, kept, attempts, error)
        told = await attempt(self._handler.given_up(_delivery(kept, attempts), wire))
        if told.error is not None:
            # The letter is kept; a retry of the notice would hold up the whole conversation.
            log.error("nobody could be told", extra={"reason": told.error.message})

    async def _stops_within(self, seconds: float) -> bool:
        """Wait `seconds`, or until the process stops; return whether it does."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True


def _message_id(subject: str) -> str:
    return subject.split(".")[4 if subject.startswith(f"{subjects.ROOT}.in.") else 5]


def _delivery(kept: Kept[M], attempts: int) -> Delivery[M]:
    return Delivery(
        message=kept.message,
        subject=kept.subject,
        sequence=kept.sequence,
        attempt=attempts,
        principal=kept.principal,
        deadline=headers.deadline_of(kept.headers, DEFAULT_DEADLINE_S),
    )


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
