"""The bus: typed calls, streams and stored messages over one NATS connection.

Deadline, trace context, schema name and principal travel in headers; callers never see them.
The known traps of nats-py are met here and in `connection` and `pull`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.js import errors as js_errors
from nats.js.api import RawStreamMsg

from clawdbot.runtime import headers, metrics
from clawdbot.runtime.kept import Kept, Raw, understood
from clawdbot.runtime.listener import Listener, Overheard
from clawdbot.runtime.telemetry import SpanKind, inject, span
from clawdbot.schema import subjects
from clawdbot.schema.codec import decode, encode
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import (
    DeadlineExceeded,
    ErrorReply,
    InvalidMessage,
    Unavailable,
    from_wire,
)
from clawdbot.schema.ids import derived
from clawdbot.schema.messages import CallSignal, CallSignalKind
from clawdbot.schema.rpc import Rpc, StreamRpc
from clawdbot.schema.streams import STREAMS, Stream
from clawdbot.schema.wire import Wire

log = logging.getLogger(__name__)

M = TypeVar("M", bound=Wire)
Req = TypeVar("Req", bound=Wire)
Rep = TypeVar("Rep", bound=Wire)
Item = TypeVar("Item", bound=Wire)

WRONG_LAST_SEQUENCE = (10071, 10164)
"""Broker error codes for a subject that already holds a message."""
LOOK_UP_TIMEOUT_S = 0.5
"""How long a publisher may look, past its deadline, whether its message was stored after all."""
RENEW_EVERY_S = 2.0
"""How often both sides of a streamed rpc say that they are still there."""
SILENCE_S = 4 * RENEW_EVERY_S
"""After this long without a word the other side is taken for dead."""


@dataclass(frozen=True)
class Stored:
    """Where a message lies in its stream."""

    sequence: int
    is_new: bool
    """False when the subject held a message before: this one was refused."""


class Bus:
    """What a service says to others, typed.

    Args:
        client: a connected client; closed by whoever opened it.
        service: the name of this side.
        silence_s: after this long without a word the other side of a streamed call is taken for
            dead.
    """

    def __init__(self, client: Client, service: str, *, silence_s: float = SILENCE_S) -> None:
        self.client = client
        self.service = service
        self._silence_s = silence_s
        self.jetstream: JetStreamContext = client.jetstream(timeout=5)

    @property
    def is_connected(self) -> bool:
        """Whether the connection to the broker stands right now."""
        return bool(self.client.is_connected)

    async def call(
        self,
        rpc: Rpc[Req, Rep],
        request: Req,
        *,
        deadline: Deadline,
        principal: str | None = None,
        target: str | None = None,
    ) -> Rep:
        """Return the answer of whichever replica takes the request.

        Raises:
            ClawdbotError: as the other side reported it.
            Unavailable: nobody serves this address, or the broker is away.
            DeadlineExceeded: no answer in time.
        """
        subject = rpc.subject(target)
        with span(f"{rpc.service}.{rpc.verb}", kind=SpanKind.CLIENT, rpc__system="nats"):
            envelope = headers.outgoing(rpc.request.SCHEMA, deadline, principal)
            msg = await self._request(subject, encode(request), deadline, envelope)
            return _answer(msg, rpc.reply)

    async def _request(
        self, subject: str, data: bytes, deadline: Deadline, envelope: dict[str, str]
    ) -> Msg:
        self._require_connection()
        try:
            left = deadline.require()
            return await self.client.request(subject, data, timeout=left, headers=envelope)
        except nats.errors.NoRespondersError as exc:
            raise Unavailable("nobody answers: the service is away or still starting") from exc
        # nats-py raises its own TimeoutError or the built-in one, depending on where it waited.
        except (nats.errors.TimeoutError, TimeoutError) as exc:
            raise DeadlineExceeded(f"no answer on {subject} in time") from exc
        except (nats.errors.Error, OSError) as exc:
            raise Unavailable("the broker is not reachable") from exc

    async def stream(
        self,
        rpc: StreamRpc[Req, Item, Rep],
        request: Req,
        *,
        deadline: Deadline,
        principal: str | None = None,
        target: str | None = None,
    ) -> AsyncGenerator[Item | Rep, None]:
        """Yield the items, then the closing answer; leaving early cancels the work.

        Close it (`contextlib.aclosing`) so that the cancellation is sent at once.

        Raises:
            ClawdbotError: as for `call`; Unavailable also when an item was lost on the way.
        """
        self._require_connection()
        inbox = self.client.new_inbox()
        call_id = derived(inbox)
        with span(f"{rpc.service}.{rpc.verb}", kind=SpanKind.CLIENT, rpc__system="nats"):
            envelope = headers.outgoing(rpc.request.SCHEMA, deadline, principal)
            envelope[headers.CALL] = call_id
            incoming = await self._subscribe(inbox)
            await self._publish(rpc.subject(target), request, envelope, reply=inbox)
        renewal = asyncio.create_task(self._renew(rpc.service, call_id), name="renew-call")
        is_over = False
        try:
            expected = 0
            while not is_over:
                msg = await _next(incoming, deadline, self._silence_s)
                is_over = headers.is_end(msg)
                yield _item(msg, rpc, expected)
                expected += 1
        finally:
            renewal.cancel()
            try:
                if not is_over:
                    await self._signal_call(rpc.service, call_id, CallSignalKind.CANCEL)
            finally:
                await _unsubscribe(incoming)

    async def _renew(self, service: str, call_id: str) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            await self._signal_call(service, call_id, CallSignalKind.RENEW)

    async def _signal_call(self, service: str, call_id: str, kind: CallSignalKind) -> None:
        try:
            await self.broadcast(subjects.call(service, call_id), CallSignal(kind=kind))
        except Unavailable:
            # The other side hears nothing from us any more, and gives the call up by itself.
            log.debug("call signal not sent")

    async def store_once(
        self,
        subject: str,
        message: Wire,
        *,
        deadline: Deadline,
        principal: str | None = None,
        valid_until: Deadline | None = None,
    ) -> Stored:
        """Store `message` unless its subject holds one already; return once the broker has it.

        Args:
            subject: where it belongs; its last token makes it unique.
            message: what to store.
            deadline: until when the broker has to confirm.
            principal: signed principal on whose behalf whoever handles it will act.
            valid_until: after this nobody wants the message handled any more.

        Raises:
            Unavailable: the broker did not confirm, and does not hold the message either.
            DeadlineExceeded: there was no time left to begin with.
        """
        envelope = headers.kept(message.SCHEMA, valid_until, principal)
        envelope[headers.EXPECTED_LAST_SUBJECT_SEQUENCE] = "0"
        template = ".".join(subject.split(".")[:2])
        started = time.perf_counter()
        outcome = "failed"
        try:
            with span(f"send {template}", kind=SpanKind.PRODUCER, messaging__system="nats"):
                inject(envelope)
                stored = await self._store(subject, encode(message), envelope, deadline)
            outcome = "stored" if stored.is_new else "refused"
            return stored
        finally:
            elapsed = time.perf_counter() - started
            metrics.store_seconds.labels(template, outcome).observe(elapsed)

    async def _store(
        self, subject: str, data: bytes, envelope: dict[str, str], deadline: Deadline
    ) -> Stored:
        self._require_connection()
        try:
            left = deadline.require()
            ack = await self.jetstream.publish(subject, data, timeout=left, headers=envelope)
            return Stored(ack.seq, is_new=True)
        except js_errors.APIError as exc:
            if exc.err_code not in WRONG_LAST_SEQUENCE:
                raise Unavailable("the broker refused to store the message") from exc
        except js_errors.NoStreamResponseError as exc:
            raise Unavailable("no stream takes this message; is the broker provisioned?") from exc
        except (nats.errors.Error, TimeoutError, OSError) as exc:
            # It may have been stored all the same: only its subject can tell.
            held = await self._look_up(subject)
            if held is None:
                raise Unavailable("the broker did not confirm the message") from exc
            return held
        return await self._look_up(subject) or Stored(0, is_new=False)

    async def _look_up(self, subject: str) -> Stored | None:
        deadline = Deadline.after(LOOK_UP_TIMEOUT_S)
        try:
            raw = await self._get(_stream_of(subject), subject=subject, deadline=deadline)
        except Unavailable:
            return None
        return Stored(raw.seq or 0, is_new=False) if raw else None

    async def broadcast(self, subject: str, message: Wire) -> None:
        """Send `message` to whoever listens now; never stored, never confirmed.

        Raises:
            Unavailable: the broker is away.
        """
        envelope = {headers.SCHEMA: message.SCHEMA}
        inject(envelope)
        self._require_connection()
        await self._publish(subject, message, envelope)

    async def _publish(
        self, subject: str, message: Wire, envelope: dict[str, str], reply: str = ""
    ) -> None:
        try:
            await self.client.publish(subject, encode(message), reply=reply, headers=envelope)
        except (nats.errors.Error, OSError) as exc:
            raise Unavailable("the broker is not reachable") from exc

    async def _subscribe(
        self, subject: str, callback: Callable[[Msg], Awaitable[None]] | None = None
    ) -> Subscription:
        try:
            return await self.client.subscribe(subject, cb=callback)
        except (nats.errors.Error, OSError) as exc:
            raise Unavailable("the broker is not reachable") from exc

    async def read_last(
        self, stream: Stream, subject: str, kind: type[M], *, deadline: Deadline
    ) -> Kept[M] | None:
        """Return the newest message on `subject` (wildcards allowed), or None.

        Raises:
            Unavailable: the broker did not answer.
        """
        raw = await self._get(stream.name, subject=subject, deadline=deadline)
        return None if raw is None else understood(Raw.read(raw), kind)

    async def read_next(
        self, stream: Stream, subject: str, start: int, kind: type[M], *, deadline: Deadline
    ) -> Kept[M] | None:
        """Return the first message on `subject` (wildcards allowed) at or after `start`, or None.

        Raises:
            Unavailable: the broker did not answer.
            Undecodable: the message is there but cannot be read; it has its place in the stream.
        """
        raw = await self._get(stream.name, subject=subject, start=start, deadline=deadline)
        return None if raw is None else understood(Raw.read(raw), kind)

    async def _get(
        self, stream: str, *, subject: str, deadline: Deadline, start: int | None = None
    ) -> RawStreamMsg | None:
        self._require_connection()
        wants_next = start is not None
        try:
            async with deadline.guard("a stream did not answer in time"):
                return await self.jetstream.get_msg(
                    stream, seq=start, subject=subject, next=wants_next, direct=True
                )
        except js_errors.NotFoundError:
            return None
        except (js_errors.Error, nats.errors.Error, TimeoutError, OSError) as exc:
            raise Unavailable("a stream cannot be read") from exc

    @asynccontextmanager
    async def listen(
        self, *names: str, kinds: tuple[type[Wire], ...], limit: int = 1024
    ) -> AsyncIterator[Listener]:
        """Hear what is published on `names` from now on; the broker has the subscription on enter.

        Raises:
            Unavailable: the broker is away.
        """
        self._require_connection()
        listener = Listener(kinds, limit)
        held: list[Subscription] = []
        try:
            for name in names:
                held.append(await self._subscribe(name, listener.hear))
            await self._flush()
            yield listener
        finally:
            for subscription in held:
                await _unsubscribe(subscription)

    @asynccontextmanager
    async def overhear(self, name: str, tell: Callable[[Overheard], None]) -> AsyncIterator[None]:
        """Call `tell` with whatever is published on `name` from now on, one at a time, unread.

        For names that cover much more than is wanted: what `tell` passes over costs no decoding.

        Raises:
            Unavailable: the broker is away.
        """

        async def take(msg: Msg) -> None:
            tell(Overheard(msg))

        self._require_connection()
        subscription = await self._subscribe(name, take)
        try:
            await self._flush()
            yield
        finally:
            await _unsubscribe(subscription)

    async def _flush(self) -> None:
        try:
            await self.client.flush(timeout=2)
        except (nats.errors.Error, TimeoutError, OSError) as exc:
            raise Unavailable("the broker is not reachable") from exc

    def _require_connection(self) -> None:
        # nats-py would buffer while disconnected and let the caller wait for its whole deadline.
        if not self.client.is_connected:
            raise Unavailable("the broker is not reachable")


def _stream_of(subject: str) -> str:
    for stream in STREAMS:
        if any(subject.startswith(pattern.rstrip(">")) for pattern in stream.subjects):
            return stream.name
    raise InvalidMessage(f"no stream keeps {subject!r}", field="subject")


def _answer(msg: Msg, kind: type[Rep]) -> Rep:
    name = (msg.headers or {}).get(headers.SCHEMA)
    if name == ErrorReply.SCHEMA:
        raise from_wire(decode(ErrorReply, msg.data))
    return decode(kind, msg.data, name)


def _item(msg: Msg, rpc: StreamRpc[Req, Item, Rep], expected: int) -> Item | Rep:
    if headers.is_end(msg):
        return _answer(msg, rpc.reply)
    if headers.index(msg) != expected:
        raise Unavailable("part of a streamed answer was lost")
    return decode(rpc.item, msg.data, (msg.headers or {}).get(headers.SCHEMA))


async def _next(incoming: Subscription, deadline: Deadline, silence_s: float) -> Msg:
    while True:
        patience = deadline.within(silence_s)
        try:
            msg = await incoming.next_msg(timeout=patience.require())
        except (nats.errors.TimeoutError, TimeoutError) as exc:
            if patience is deadline:
                raise DeadlineExceeded("the streamed answer did not end in time") from exc
            raise Unavailable("whoever was answering fell silent") from exc
        except nats.errors.Error as exc:
            raise Unavailable("the broker is not reachable") from exc
        if headers.is_no_responders(msg):
            raise Unavailable("nobody serves this address")
        if headers.ALIVE not in (msg.headers or {}):
            return msg


async def _unsubscribe(subscription: Subscription) -> None:
    # After a closed connection there is nothing left to give up.
    if not subscription._conn.is_closed:
        await subscription.unsubscribe()
