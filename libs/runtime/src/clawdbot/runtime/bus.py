"""The bus: typed calls, streams and stored messages over one NATS connection.

Deadline, trace context, schema name and principal travel in headers; callers never see them.
The known traps of nats-py are met here and in `connection` and `pull`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.js import errors as js_errors
from nats.js.api import RawStreamMsg

from clawdbot.runtime import headers, metrics
from clawdbot.runtime.config import Config
from clawdbot.runtime.connection import connected
from clawdbot.runtime.secrets import Secrets
from clawdbot.runtime.telemetry import SpanKind, inject, span
from clawdbot.schema import subjects
from clawdbot.schema.codec import decode, encode
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import (
    DeadlineExceeded,
    ErrorReply,
    InvalidMessage,
    Overloaded,
    Unavailable,
    from_wire,
)
from clawdbot.schema.ids import derived
from clawdbot.schema.messages import CallSignal, CallSignalKind
from clawdbot.schema.permissions import OPERATOR
from clawdbot.schema.rpc import Rpc, StreamRpc
from clawdbot.schema.streams import STREAMS, Stream
from clawdbot.schema.wire import Wire

M = TypeVar("M", bound=Wire)
Req = TypeVar("Req", bound=Wire)
Rep = TypeVar("Rep", bound=Wire)
Item = TypeVar("Item", bound=Wire)

WRONG_LAST_SEQUENCE = (10071, 10164)
"""Broker error codes for a subject that already holds a message."""
LOOK_UP_TIMEOUT_S = 0.5
"""How long a publisher may look, past its deadline, whether its message was stored after all."""
RENEW_EVERY_S = 2.0
"""How often the caller of a streamed rpc says that it still listens."""


@dataclass(frozen=True)
class Stored:
    """Where a message lies in its stream."""

    sequence: int
    is_new: bool
    """False when the subject held a message before: this one was refused."""


@dataclass(frozen=True)
class Kept(Generic[M]):
    """A message read back from a stream."""

    message: M
    subject: str
    sequence: int
    principal: str | None
    stored_at_ns: int
    """Unix time in nanoseconds."""
    headers: dict[str, str]


class Listener:
    """Messages of some subjects, as they are broadcast; bounded, in order of arrival."""

    def __init__(self, kinds: tuple[type[Wire], ...], limit: int) -> None:
        self._kinds = {kind.SCHEMA: kind for kind in kinds}
        self._queue: asyncio.Queue[Msg] = asyncio.Queue(limit)
        self._has_overflowed = False

    async def _put(self, msg: Msg) -> None:
        try:
            self._queue.put_nowait(msg)
        except asyncio.QueueFull:
            self._has_overflowed = True

    async def next(self, deadline: Deadline) -> Wire:
        """Return the next message of a known kind.

        Raises:
            DeadlineExceeded: none came in time.
            Overloaded: messages were lost because nobody took them.
            InvalidMessage: one cannot be decoded.
        """
        while True:
            if self._has_overflowed:
                raise Overloaded("the listener was too slow and lost messages")
            try:
                async with asyncio.timeout(deadline.require()):
                    msg = await self._queue.get()
            except TimeoutError as exc:
                raise DeadlineExceeded("nothing arrived in time") from exc
            name = (msg.headers or {}).get(headers.SCHEMA, "")
            if kind := self._kinds.get(name):
                return decode(kind, msg.data)


class Bus:
    """What a service says to others, typed.

    Args:
        client: a connected client; closed by whoever opened it.
        service: the name of this side.
    """

    def __init__(self, client: Client, service: str) -> None:
        self.client = client
        self.service = service
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
            raise Unavailable(f"nobody answers on {subject}") from exc
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
        envelope = headers.outgoing(rpc.request.SCHEMA, deadline, principal)
        envelope[headers.CALL] = call_id
        with span(f"{rpc.service}.{rpc.verb}", kind=SpanKind.CLIENT, rpc__system="nats"):
            inject(envelope)
        incoming = await self.client.subscribe(inbox)
        renewal = asyncio.create_task(self._renew(rpc.service, call_id), name="renew-call")
        is_over = False
        try:
            await self.client.publish(
                rpc.subject(target), encode(request), reply=inbox, headers=envelope
            )
            expected = 0
            while not is_over:
                msg = await _next(incoming, deadline)
                is_over = headers.is_end(msg)
                yield _item(msg, rpc, expected)
                expected += 1
        finally:
            renewal.cancel()
            if not is_over:
                await self._signal_call(rpc.service, call_id, CallSignalKind.CANCEL)
            await _unsubscribe(incoming)

    async def _renew(self, service: str, call_id: str) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            await self._signal_call(service, call_id, CallSignalKind.RENEW)

    async def _signal_call(self, service: str, call_id: str, kind: CallSignalKind) -> None:
        if self.is_connected:
            await self.broadcast(subjects.call(service, call_id), CallSignal(kind=kind))

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
        with (
            span(f"send {template}", kind=SpanKind.PRODUCER, messaging__system="nats"),
            metrics.store_seconds.labels(template, "stored").time(),
        ):
            inject(envelope)
            return await self._store(subject, encode(message), envelope, deadline)

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
        try:
            await self.client.publish(subject, encode(message), headers=envelope)
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
        return None if raw is None else _kept(raw, kind)

    async def read_next(
        self, stream: Stream, subject: str, start: int, kind: type[M], *, deadline: Deadline
    ) -> Kept[M] | None:
        """Return the first message on `subject` (wildcards allowed) at or after `start`, or None.

        Raises:
            Unavailable: the broker did not answer.
            Undecodable: the message is there but cannot be read; it has its place in the stream.
        """
        raw = await self._get(stream.name, subject=subject, start=start, deadline=deadline)
        return None if raw is None else _kept(raw, kind)

    async def _get(
        self, stream: str, *, subject: str, deadline: Deadline, start: int | None = None
    ) -> RawStreamMsg | None:
        self._require_connection()
        wants_next = start is not None
        try:
            async with asyncio.timeout(deadline.require()):
                return await self.jetstream.get_msg(
                    stream, seq=start, subject=subject, next=wants_next, direct=True
                )
        except js_errors.NotFoundError:
            return None
        except (js_errors.APIError, nats.errors.Error, TimeoutError, OSError) as exc:
            raise Unavailable(f"the stream {stream} cannot be read") from exc

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
                held.append(await self.client.subscribe(name, cb=listener._put))
            await self._flush()
            yield listener
        finally:
            for subscription in held:
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


@asynccontextmanager
async def operator_bus(config: Config, secrets: Secrets) -> AsyncIterator[Bus]:
    """Connect with the operator's permissions, for commands.

    Raises:
        Unavailable: the broker cannot be reached.
    """
    async with connected(OPERATOR, config, secrets) as client:
        yield Bus(client, OPERATOR)


class Undecodable(InvalidMessage):
    """A stored message that cannot be read, with its place, so that it can be passed over."""

    def __init__(self, cause: InvalidMessage, raw: RawStreamMsg) -> None:
        super().__init__(cause.message, field=cause.field)
        self.subject = raw.subject or ""
        self.sequence = raw.seq or 0
        self.body = raw.data or b""
        self.headers = dict(raw.headers or {})


def _kept(raw: RawStreamMsg, kind: type[M]) -> Kept[M]:
    found = dict(raw.headers or {})
    try:
        message = decode(kind, raw.data or b"", found.get(headers.SCHEMA))
    except InvalidMessage as exc:
        raise Undecodable(exc, raw) from exc
    stored_at = raw.time if isinstance(raw.time, datetime) else None
    return Kept(
        message=message,
        subject=raw.subject or "",
        sequence=raw.seq or 0,
        principal=found.get(headers.PRINCIPAL),
        stored_at_ns=int(stored_at.timestamp() * 1e9) if stored_at else 0,
        headers=found,
    )


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


async def _next(incoming: Subscription, deadline: Deadline) -> Msg:
    try:
        msg = await incoming.next_msg(timeout=deadline.require())
    except (nats.errors.TimeoutError, TimeoutError) as exc:
        raise DeadlineExceeded("the streamed answer did not end in time") from exc
    except nats.errors.Error as exc:
        raise Unavailable("the broker is not reachable") from exc
    if headers.is_no_responders(msg):
        raise Unavailable("nobody serves this address")
    return msg


async def _unsubscribe(subscription: Subscription) -> None:
    # After a closed connection there is nothing left to give up.
    if not subscription._conn.is_closed:
        await subscription.unsubscribe()
