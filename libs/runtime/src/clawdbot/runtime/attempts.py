"""One stored message, from its first attempt to its end: done, dead and told, or put off."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from clawdbot.runtime import metrics
from clawdbot.runtime.deadletters import DeadLetters
from clawdbot.runtime.delivery import attempt, delay_s
from clawdbot.runtime.kept import Kept
from clawdbot.runtime.leases import Mark, Progress
from clawdbot.runtime.logging import log_context
from clawdbot.runtime.telemetry import SpanKind, extracted, queue_span, span
from clawdbot.schema import subjects
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.delivery import Delivery
from clawdbot.schema.errors import ClawdbotError, DeadlineExceeded, ErrorReply, Internal
from clawdbot.schema.streams import Stream
from clawdbot.schema.wire import Wire

log = logging.getLogger(__name__)

M = TypeVar("M", bound=Wire)

NO_DEADLINE_S = 3600.0
"""How long a message without a deadline may be worked on at a time."""
NOTICES = 4
"""How often it is tried to tell that a message was given up; the letter itself is kept by then."""
LONGEST_PAUSE_S = 15.0
"""A longer wait before the next attempt holds nothing: the broker rings again when it is over."""


class OrderedHandler(Protocol[M]):
    """Decides what a message does."""

    async def handle(self, delivery: Delivery[M]) -> None:
        """Do what the message asks; every effect carries an id derived from it."""

    async def given_up(self, delivery: Delivery[M], error: ErrorReply) -> None:
        """Tell whoever waits; called once the dead letter is stored."""


class PutOff(Exception):
    """The message's next attempt is not for now; its conversation waits with it.

    Attributes:
        wait_s: seconds until then.
    """

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"for {wait_s:.1f} s")
        self.wait_s = wait_s


@dataclass(frozen=True)
class Pace:
    """How many at once, how long to wait for what, how often to try."""

    concurrency: int
    ack_wait_s: float
    max_attempts: int


class Attempts(Generic[M]):
    """Brings messages to their end, counting attempts in the conversation's record."""

    def __init__(
        self,
        handler: OrderedHandler[M],
        progress: Progress,
        dead_letters: DeadLetters,
        place: tuple[Stream, str],
        max_attempts: int,
    ) -> None:
        self._handler = handler
        self._progress = progress
        self._dead_letters = dead_letters
        self._stream, self._consumer = place
        self._max_attempts = max_attempts
        self.stopping = asyncio.Event()

    async def settle(self, key: str, mark: Mark, kept: Kept[M], is_repeat: bool) -> Mark:
        """Handle one message to its end and return the mark after it.

        Args:
            key: of the conversation.
            mark: how far the conversation is done.
            kept: its next message.
            is_repeat: whether an attempt may have been cut off by a crash.

        Raises:
            PutOff: another attempt is due later, or the process stops.
            LeaseLost: another worker moved the conversation.
            Unavailable: the broker does not answer.
        """
        wait_s = mark.wait_s(kept.sequence)
        if wait_s > 0:
            raise PutOff(wait_s)
        parent = extracted(kept.raw.headers)
        template = ".".join(kept.subject.split(".")[:2])
        attempts = mark.attempts_at(kept.sequence) + 1
        if attempts == 1:
            queue_span(f"queue {template}", parent, kept.raw.stored_at_ns)
            waited = time.time() - kept.raw.stored_at_ns / 1e9
            metrics.queue_age_seconds.labels(self._consumer).observe(max(waited, 0.0))
        with (
            span(
                f"process {template}",
                kind=SpanKind.CONSUMER,
                parent=parent,
                messaging__system="nats",
                clawdbot__attempt=attempts,
            ),
            log_context(lane=key, message_id=_message_id(kept.subject)),
        ):
            if is_repeat:
                # A crash leaves no other trace: count the attempt before it can happen again.
                mark = await self._progress.attempted(key, mark, kept.sequence, attempts)
            mark = await self._until_settled(key, mark, kept, attempts)
            return await self._progress.done(key, mark, kept.sequence, kept.raw.stored_at_ns)

    async def _until_settled(self, key: str, mark: Mark, kept: Kept[M], attempts: int) -> Mark:
        while (error := await self._attempt(kept, attempts)) is not None:
            if not error.retryable or attempts >= self._max_attempts or _is_unwanted(kept):
                await self._give_up(kept, attempts, error)
                break
            wait_s = delay_s(attempts, error)
            mark = await self._progress.attempted(
                key, mark, kept.sequence, attempts, wait_s if wait_s > LONGEST_PAUSE_S else 0.0
            )
            if wait_s > LONGEST_PAUSE_S or await self._stops_within(wait_s):
                raise PutOff(wait_s)
            attempts += 1
        return mark

    async def _attempt(self, kept: Kept[M], attempts: int) -> ClawdbotError | None:
        if attempts > self._max_attempts:
            return Internal("the worker died at every attempt")
        if _is_unwanted(kept):
            return DeadlineExceeded("the answer was no longer wanted when its turn came")
        started = time.perf_counter()
        outcome = await attempt(self._handle(_delivery(kept, attempts)))
        elapsed = time.perf_counter() - started
        metrics.handle_seconds.labels(self._consumer, outcome.label).observe(elapsed)
        reason = {"reason": outcome.error.message} if outcome.error else {}
        log.info(
            "handled",
            extra={
                "consumer": self._consumer,
                "outcome": outcome.label,
                "attempt": attempts,
                "duration_ms": round(elapsed * 1000),
                **reason,
            },
        )
        return outcome.error

    async def _handle(self, delivery: Delivery[M]) -> None:
        async with delivery.deadline.guard("the answer took longer than it was wanted"):
            await self._handler.handle(delivery)

    async def _give_up(self, kept: Kept[M], attempts: int, error: ClawdbotError) -> None:
        wire = await self._dead_letters.bury(
            self._stream, self._consumer, kept.raw, attempts, error
        )
        for tries in range(1, NOTICES + 1):
            told = await attempt(self._handler.given_up(_delivery(kept, attempts), wire))
            if told.error is None:
                return
            log.error("nobody could be told", extra={"reason": told.error.message})
            if not told.error.retryable or await self._stops_within(delay_s(tries, told.error)):
                return

    async def _stops_within(self, seconds: float) -> bool:
        """Wait `seconds`, or until the process stops; return whether it does."""
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            return False
        return True


def _is_unwanted(kept: Kept[M]) -> bool:
    return kept.deadline is not None and kept.deadline.remaining_s() <= 0


def _delivery(kept: Kept[M], attempts: int) -> Delivery[M]:
    return Delivery(
        message=kept.message,
        subject=kept.subject,
        sequence=kept.sequence,
        attempt=attempts,
        principal=kept.principal,
        deadline=kept.deadline or Deadline.after(NO_DEADLINE_S),
    )


def _message_id(subject: str) -> str:
    return subject.split(".")[4 if subject.startswith(f"{subjects.ROOT}.in.") else 5]
