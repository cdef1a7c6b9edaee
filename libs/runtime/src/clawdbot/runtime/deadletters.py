"""What was given up on: kept whole in a stream, so that it can be read, sent again or dropped."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import TypeVar

import nats.errors
from nats.js import errors as js_errors

from clawdbot.runtime import headers, metrics
from clawdbot.runtime.bus import Bus, Kept, Undecodable
from clawdbot.runtime.telemetry import current_trace_id
from clawdbot.schema import subjects
from clawdbot.schema.codec import decode, encode
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, ErrorReply, NotFound, Unavailable, to_wire
from clawdbot.schema.ids import derived
from clawdbot.schema.messages import DeadLetter
from clawdbot.schema.streams import DEADLETTER, Stream
from clawdbot.schema.wire import Wire

log = logging.getLogger(__name__)

M = TypeVar("M", bound=Wire)

STORE_TIMEOUT_S = 5.0


class DeadLetters:
    """Buries messages; each place in a stream once."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def bury(
        self, stream: Stream, consumer: str, kept: Kept[M], attempts: int, error: ClawdbotError
    ) -> ErrorReply:
        """Store the dead letter of `kept` and return what may be told of its end.

        Raises:
            Unavailable: the broker did not confirm; the message is not given up yet.
        """
        wire = to_wire(error, current_trace_id())
        letter = DeadLetter(
            stream=stream.name,
            sequence=kept.sequence,
            subject=kept.subject,
            headers=kept.headers,
            body=encode(kept.message),
            error=wire,
            attempts=attempts,
            consumer=consumer,
            died_at_ms=int(time.time() * 1000),
        )
        await self._store(letter)
        return wire

    async def bury_undecodable(self, stream: Stream, consumer: str, broken: Undecodable) -> None:
        """Store what cannot even be read.

        Raises:
            Unavailable: the broker did not confirm.
        """
        letter = DeadLetter(
            stream=stream.name,
            sequence=broken.sequence,
            subject=broken.subject,
            headers=broken.headers,
            body=broken.body,
            error=to_wire(broken, current_trace_id()),
            attempts=1,
            consumer=consumer,
            died_at_ms=int(time.time() * 1000),
        )
        await self._store(letter)

    async def _store(self, letter: DeadLetter) -> None:
        envelope = headers.outgoing(letter.SCHEMA, Deadline.after(STORE_TIMEOUT_S), None)
        envelope[headers.MESSAGE_ID] = derived(letter.stream, str(letter.sequence), letter.consumer)
        subject = subjects.dead(letter.stream, letter.error.code)
        try:
            await self._bus.jetstream.publish(
                subject, encode(letter), headers=envelope, timeout=STORE_TIMEOUT_S
            )
        except (js_errors.Error, nats.errors.Error, TimeoutError, OSError) as exc:
            raise Unavailable("the dead letter could not be stored") from exc
        metrics.dead_letters.labels(letter.error.code).inc()
        log.error(
            "message given up",
            extra={"reason": letter.error.code, "attempts": letter.attempts},
        )


class DeadLetterDesk:
    """What an operator does with dead letters; needs the operator's permissions."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def list(self, limit: int = 100) -> list[tuple[int, DeadLetter]]:
        """Return up to `limit` letters with their numbers, oldest first.

        Raises:
            Unavailable: the broker does not answer.
        """
        found: list[tuple[int, DeadLetter]] = []
        start = 1
        while len(found) < limit:
            kept = await self._bus.read_next(
                DEADLETTER,
                subjects.ALL_DEAD,
                start,
                DeadLetter,
                deadline=Deadline.after(STORE_TIMEOUT_S),
            )
            if kept is None:
                break
            found.append((kept.sequence, kept.message))
            start = kept.sequence + 1
        return found

    async def show(self, number: int) -> DeadLetter:
        """Return one letter.

        Raises:
            NotFound: there is none with this number.
        """
        try:
            raw = await self._bus.jetstream.get_msg(DEADLETTER.name, seq=number, direct=True)
        except js_errors.NotFoundError as exc:
            raise NotFound(f"there is no dead letter {number}", field="number") from exc
        except (js_errors.Error, nats.errors.Error, TimeoutError, OSError) as exc:
            raise Unavailable("the broker does not answer") from exc
        return decode(DeadLetter, raw.data or b"")

    async def redrive(self, number: int) -> str:
        """Send the message of a letter again under an id of its own, and return its subject.

        The letter is dropped afterwards.

        Raises:
            NotFound: there is none with this number.
            Unavailable: the broker did not confirm.
        """
        letter = await self.show(number)
        prefix, _, old = letter.subject.rpartition(".")
        subject = f"{prefix}.{derived(old, 'redrive', str(number))}"
        try:
            await self._bus.jetstream.publish(
                subject, letter.body, headers=_fresh(letter.headers), timeout=STORE_TIMEOUT_S
            )
        except (js_errors.Error, nats.errors.Error, TimeoutError, OSError) as exc:
            raise Unavailable("the message could not be stored again") from exc
        await self.drop(number)
        return subject

    async def drop(self, number: int) -> None:
        """Delete a letter for good.

        Raises:
            NotFound: there is none with this number.
        """
        try:
            await self._bus.jetstream.delete_msg(DEADLETTER.name, number)
        except js_errors.NotFoundError as exc:
            raise NotFound(f"there is no dead letter {number}", field="number") from exc
        except js_errors.APIError as exc:
            raise NotFound(f"there is no dead letter {number}", field="number") from exc
        except (js_errors.Error, nats.errors.Error, TimeoutError, OSError) as exc:
            raise Unavailable("the broker does not answer") from exc


def _fresh(found: Mapping[str, str]) -> dict[str, str]:
    """Keep what the message said of itself, with a deadline that has not passed."""
    kept = {
        name: value
        for name, value in found.items()
        if not name.startswith("Nats-") and name != headers.DEADLINE
    }
    return {**kept, headers.DEADLINE: str(Deadline.after(3600).ms)}
