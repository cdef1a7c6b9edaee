"""What was given up on: kept whole in a stream, so that it can be read, sent again or dropped."""

from __future__ import annotations

import logging
import time

import nats.errors
from nats.js import errors as js_errors

from clawdbot.runtime import headers, metrics
from clawdbot.runtime.bus import Bus
from clawdbot.runtime.kept import Raw, Undecodable
from clawdbot.runtime.operator_log import OperatorLog
from clawdbot.runtime.telemetry import current_trace_id
from clawdbot.schema import subjects
from clawdbot.schema.codec import MAX_PAYLOAD_BYTES, decode, encode
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.deeds import Deed, OperatorDeed
from clawdbot.schema.errors import (
    ClawdbotError,
    ErrorReply,
    InvalidMessage,
    NotFound,
    Unavailable,
    to_wire,
)
from clawdbot.schema.ids import MessageId, derived
from clawdbot.schema.messages import DeadLetter, InboundMessage, OutboundMessage
from clawdbot.schema.permissions import OPERATOR
from clawdbot.schema.principal import has_expired
from clawdbot.schema.streams import DEADLETTER, INBOUND, OUTBOUND, Stream

log = logging.getLogger(__name__)

STORE_TIMEOUT_S = 5.0
MAX_LETTER_BODY_BYTES = MAX_PAYLOAD_BYTES - 256 * 1024
"""Leaves room for what the letter says of the message."""
REDRIVEN_FOR_S = 3600.0
"""How long the answer to a redriven message is wanted."""


class DeadLetters:
    """Buries messages; each place in a stream once."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def bury(
        self, stream: Stream, consumer: str, raw: Raw, attempts: int, error: ClawdbotError
    ) -> ErrorReply:
        """Store the dead letter of `raw` and return what may be told of its end.

        Raises:
            Unavailable: the broker did not confirm; the message is not given up yet.
        """
        wire = to_wire(error, current_trace_id())
        letter = DeadLetter(
            stream=stream.name,
            sequence=raw.sequence,
            subject=raw.subject,
            headers=raw.headers,
            body=raw.body[:MAX_LETTER_BODY_BYTES],
            is_cut=len(raw.body) > MAX_LETTER_BODY_BYTES,
            error=wire,
            attempts=attempts,
            consumer=consumer,
            died_at_ms=int(time.time() * 1000),
        )
        await self._store(letter)
        return wire

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
    """What an operator does with dead letters; needs the operator's permissions.

    Args:
        bus: connected as the operator.
        who: whom the log names for what is done.
    """

    def __init__(self, bus: Bus, who: str = OPERATOR) -> None:
        self._bus = bus
        self._log = OperatorLog(bus)
        self._who = who

    async def list(self, limit: int = 100) -> list[tuple[int, DeadLetter]]:
        """Return up to `limit` readable letters with their numbers, oldest first.

        Raises:
            Unavailable: the broker does not answer.
        """
        found: list[tuple[int, DeadLetter]] = []
        start = 1
        while len(found) < limit:
            deadline = Deadline.after(STORE_TIMEOUT_S)
            try:
                kept = await self._bus.read_next(
                    DEADLETTER, subjects.ALL_DEAD, start, DeadLetter, deadline=deadline
                )
            except Undecodable as exc:
                log.warning("unreadable dead letter", extra={"number": exc.raw.sequence})
                start = exc.raw.sequence + 1
                continue
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

        It is recorded first; the letter is dropped afterwards. Redriving it twice sends it once.

        Raises:
            NotFound: there is none with this number.
            InvalidMessage: the letter was cut, is too old, or is of no stream that can be redriven.
            Unavailable: the broker did not confirm.
        """
        letter = await self.show(number)
        subject, message = _renewed(letter, number)
        principal = letter.headers.get(headers.PRINCIPAL)
        if principal is not None and has_expired(principal):
            raise InvalidMessage(
                "whom the message speaks for is no longer believed: it is too old",
                field="number",
                fix="ask its sender to send it again, then drop the letter",
            )
        await self._record(Deed.REDRIVE, number, letter, subject)
        await self._bus.store_once(
            subject,
            message,
            deadline=Deadline.after(STORE_TIMEOUT_S),
            principal=principal,
            valid_until=Deadline.after(REDRIVEN_FOR_S),
        )
        await self._delete(number)
        return subject

    async def drop(self, number: int) -> None:
        """Delete a letter for good; it is recorded first.

        Raises:
            NotFound: there is none with this number.
            Unavailable: the broker does not answer.
        """
        await self._record(Deed.DROP, number, await self.show(number))
        await self._delete(number)

    async def _record(
        self, deed: Deed, number: int, letter: DeadLetter, sent_as: str | None = None
    ) -> None:
        await self._log.record(
            OperatorDeed(
                deed=deed,
                who=self._who,
                at_ms=int(time.time() * 1000),
                number=number,
                stream=letter.stream,
                sequence=letter.sequence,
                subject=letter.subject,
                code=letter.error.code,
                sent_as=sent_as,
            )
        )

    async def _delete(self, number: int) -> None:
        try:
            await self._bus.jetstream.delete_msg(DEADLETTER.name, number)
        except (js_errors.Error, nats.errors.Error, TimeoutError, OSError) as exc:
            raise Unavailable("the broker does not answer") from exc


def _renewed(letter: DeadLetter, number: int) -> tuple[str, InboundMessage | OutboundMessage]:
    """Return the letter's message under a new id, so that its answer is no copy of the apology."""
    if letter.is_cut:
        raise InvalidMessage("the message was too large to be kept whole", field="number")
    if letter.stream == INBOUND.name:
        said = decode(InboundMessage, letter.body)
        again = MessageId(derived(said.message_id, "redrive", str(number)))
        until_ms = Deadline.after(REDRIVEN_FOR_S).ms
        inbound = said.model_copy(update={"message_id": again, "deadline_ms": until_ms})
        return subjects.inbound(said.tenant, said.conversation_id, again), inbound
    if letter.stream == OUTBOUND.name:
        reply = decode(OutboundMessage, letter.body)
        again = MessageId(derived(reply.message_id, "redrive", str(number)))
        subject = subjects.outbound(
            reply.channel, reply.tenant, reply.conversation_id, again, reply.part
        )
        return subject, reply
    raise InvalidMessage(f"messages of {letter.stream} cannot be sent again", field="number")
