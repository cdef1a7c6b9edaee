"""Answers requests: bounded, typed, found through the NATS micro protocol (ADR-32).

nats-py runs the callback of a subscription one message at a time, so each request becomes a task
of its own, up to a bound; beyond it the answer is `Overloaded` at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.micro.request import Request
from nats.micro.service import Service, ServiceConfig

from clawdbot.runtime import headers, metrics
from clawdbot.runtime.bus import SILENCE_S, Bus
from clawdbot.runtime.delivery import Outcome, attempt
from clawdbot.runtime.telemetry import SpanKind, current_trace_id, extracted, span
from clawdbot.schema import subjects
from clawdbot.schema.codec import decode, encode
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import (
    ClawdbotError,
    Internal,
    InvalidMessage,
    Overloaded,
    Unavailable,
    to_wire,
)
from clawdbot.schema.messages import CallSignal, CallSignalKind
from clawdbot.schema.principal import PrincipalVerifier
from clawdbot.schema.rpc import Call, Rpc, StreamRpc
from clawdbot.schema.wire import Wire

log = logging.getLogger(__name__)

Req = TypeVar("Req", bound=Wire)
Rep = TypeVar("Rep", bound=Wire)
Item = TypeVar("Item", bound=Wire)

DEFAULT_DEADLINE_S = 30.0
"""For callers that set none; ours always do."""
INBOXES = "_INBOX_"
"""How the inboxes of all users of the bus begin (`clawdbot.schema.permissions.inbox`)."""
TOOK_TOO_LONG = "the work took longer than its caller waits"

UNSUBSCRIBE_TIMEOUT_S = 3.0

Work = Callable[[Msg, dict[str, str]], Awaitable[str]]
"""Answers one request and returns the outcome's label."""


@dataclass
class Running:
    """A streamed call that is being answered."""

    task: asyncio.Task[Any]
    caller: str
    """Inbox of whoever asked."""
    heard_at: float


class RPCServer:
    """Serves the rpcs of one process.

    Args:
        bus: the connection to answer on.
        version: semantic version shown by `$SRV.INFO`.
        verifier: believes principals; None for a service that never asks who is talking.
    """

    def __init__(self, bus: Bus, version: str, verifier: PrincipalVerifier | None) -> None:
        self._bus = bus
        self._verifier = verifier
        self._service = Service(bus.client, ServiceConfig(name=bus.service, version=version))
        self._tasks: set[asyncio.Task[None]] = set()
        self._streams: dict[str, Running] = {}
        self._signals: Subscription | None = None
        self._is_stopping = False

    async def start(self) -> None:
        """Become visible to `$SRV.PING` and hear callers' signals."""
        await self._service.start()
        self._signals = await self._bus.client.subscribe(
            subjects.calls_of(self._bus.service), cb=self._hear
        )

    async def stop(self, deadline: Deadline) -> None:
        """Take nothing new, wait for what runs until `deadline`, then cancel it and say so."""
        await self._take_nothing_new()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=max(deadline.remaining_s(), 0))
        self._is_stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._signals is not None and not self._bus.client.is_closed:
            await self._signals.unsubscribe()

    async def _take_nothing_new(self) -> None:
        # nats.micro itself would unsubscribe and drop the requests that were delivered already.
        endpoints = [endpoint._subscription for endpoint in self._service._endpoints]
        try:
            async with asyncio.timeout(UNSUBSCRIBE_TIMEOUT_S):
                await asyncio.gather(*(held.drain() for held in endpoints if held is not None))
        except (nats.errors.Error, TimeoutError, OSError) as exc:
            log.warning("stopped without the broker", extra={"error": type(exc).__name__})

    async def respond(
        self,
        rpc: Rpc[Req, Rep],
        handler: Callable[[Req, Call], Awaitable[Rep]],
        target: str | None,
        concurrency: int,
    ) -> None:
        """Answer `rpc` with `handler`, at most `concurrency` requests at a time."""

        async def work(msg: Msg, envelope: dict[str, str]) -> str:
            return await self._replied(msg, self._answer(rpc, handler, msg, envelope), {})

        await self._serve(rpc, target, work, concurrency)

    async def respond_stream(
        self,
        rpc: StreamRpc[Req, Item, Rep],
        handler: Callable[[Req, Call], AsyncIterator[Item | Rep]],
        target: str | None,
        concurrency: int,
    ) -> None:
        """Answer `rpc` with what `handler` yields; its last value closes the answer."""

        async def work(msg: Msg, envelope: dict[str, str]) -> str:
            with _Registered(self._streams, envelope.get(headers.CALL, ""), msg.reply):
                answer = self._answer_stream(rpc, handler, msg, envelope)
                return await self._replied(msg, answer, {headers.END: "1"})

        await self._serve(rpc, target, work, concurrency)

    async def _serve(
        self,
        rpc: Rpc[Any, Any] | StreamRpc[Any, Any, Any],
        target: str | None,
        work: Work,
        concurrency: int,
    ) -> None:
        method = f"{rpc.service}.{rpc.verb}"
        active: set[asyncio.Task[None]] = set()

        async def take(request: Request) -> None:
            msg = request._msg
            if not msg.reply.startswith(INBOXES):
                # The broker sends stored messages wherever it is told: such a one is no request.
                log.error("request without a caller ignored", extra={"method": method})
                return
            if len(active) >= concurrency:
                metrics.rpc_seconds.labels(method, Overloaded.code).observe(0.0)
                await self._reply(msg, Outcome(error=Overloaded("no free slot")), {})
                return
            task = asyncio.create_task(self._traced(method, msg, work), name=method)
            for owner in (active, self._tasks):
                owner.add(task)
                task.add_done_callback(owner.discard)

        name = method.replace(".", "-") if target is None else f"{rpc.verb}-{target}"
        await self._service.add_endpoint(
            name=name, handler=take, subject=rpc.subject(target), queue_group=rpc.service
        )
        # Only when the broker has it can callers find it.
        await self._bus.client.flush(timeout=5)

    async def _traced(self, method: str, msg: Msg, work: Work) -> None:
        envelope = dict(msg.headers or {})
        with span(method, kind=SpanKind.SERVER, parent=extracted(envelope), rpc__system="nats"):
            started = time.perf_counter()
            label = await work(msg, envelope)
            metrics.rpc_seconds.labels(method, label).observe(time.perf_counter() - started)

    async def _answer(
        self,
        rpc: Rpc[Req, Rep],
        handler: Callable[[Req, Call], Awaitable[Rep]],
        msg: Msg,
        envelope: dict[str, str],
    ) -> Rep:
        request, call = self._parse(rpc.request, rpc.needs_principal, msg, envelope)
        async with call.deadline.guard(TOOK_TOO_LONG):
            return await handler(request, call)

    async def _answer_stream(
        self,
        rpc: StreamRpc[Req, Item, Rep],
        handler: Callable[[Req, Call], AsyncIterator[Item | Rep]],
        msg: Msg,
        envelope: dict[str, str],
    ) -> Rep:
        request, call = self._parse(rpc.request, rpc.needs_principal, msg, envelope)
        produced = cast("Any", handler(request, call))
        async with call.deadline.guard(TOOK_TOO_LONG), aclosing(produced):
            index = 0
            async for value in produced:
                if isinstance(value, rpc.reply):
                    return value
                item_headers = {headers.SCHEMA: rpc.item.SCHEMA, headers.INDEX: str(index)}
                await self._bus.client.publish(msg.reply, encode(value), headers=item_headers)
                index += 1
        raise RuntimeError(f"{rpc.verb} ended without its closing answer")

    def _parse(
        self, kind: type[Req], needs_principal: bool, msg: Msg, envelope: dict[str, str]
    ) -> tuple[Req, Call]:
        deadline = headers.deadline_of(envelope) or Deadline.after(DEFAULT_DEADLINE_S)
        deadline.require()
        verified = None
        if needs_principal:
            if self._verifier is None:
                raise RuntimeError("this service has no principal key")
            verified = self._verifier.verify(envelope.get(headers.PRINCIPAL, ""))
        request = decode(kind, msg.data, envelope.get(headers.SCHEMA))
        return request, Call(deadline=deadline, verified=verified)

    async def _replied(
        self, msg: Msg, answer: Coroutine[Any, Any, Any], extra: dict[str, str]
    ) -> str:
        """Send what `answer` gives and return the outcome's label."""
        try:
            outcome = await attempt(answer)
        except asyncio.CancelledError:
            if self._is_stopping:
                error = Unavailable("the service is stopping")
                await self._reply(msg, Outcome(error=error), extra)
            raise
        await self._reply(msg, outcome, extra)
        return outcome.label

    async def _reply(self, msg: Msg, outcome: Outcome[Any], extra: dict[str, str]) -> None:
        envelope, data = _encoded(outcome, extra)
        try:
            await self._bus.client.publish(msg.reply, data, headers=envelope)
        except (nats.errors.Error, OSError) as exc:
            log.warning("answer could not be sent", extra={"error": type(exc).__name__})

    async def _hear(self, msg: Msg) -> None:
        """Note a caller's renewal, or end its call; also end those whose caller fell silent."""
        running = self._streams.get(msg.subject.rpartition(".")[2])
        if running is None:
            return
        try:
            signal = decode(CallSignal, msg.data)
        except InvalidMessage:
            log.warning("undecodable call signal")
            return
        if signal.kind is CallSignalKind.CANCEL:
            running.task.cancel()
        running.heard_at = time.monotonic()

    async def tend_streams(self) -> None:
        """Tell callers that their answers are still being written; end calls that nobody renews."""
        oldest = time.monotonic() - SILENCE_S
        for running in list(self._streams.values()):
            if running.heard_at < oldest:
                running.task.cancel()
            elif self._bus.is_connected:
                await self._bus.client.publish(running.caller, headers={headers.ALIVE: "1"})


class _Registered:
    """Makes the current task findable by its call id while it runs."""

    def __init__(self, streams: dict[str, Running], call_id: str, caller: str) -> None:
        self._streams = streams
        self._call_id = call_id
        self._caller = caller

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if self._call_id and task is not None:
            self._streams[self._call_id] = Running(task, self._caller, time.monotonic())

    def __exit__(self, *_: object) -> None:
        self._streams.pop(self._call_id, None)


def _encoded(outcome: Outcome[Any], extra: dict[str, str]) -> tuple[dict[str, str], bytes]:
    if outcome.value is None:
        return _failure(outcome.error or Internal("no answer"), extra)
    try:
        return {headers.SCHEMA: outcome.value.SCHEMA, **extra}, encode(outcome.value)
    except ClawdbotError as exc:
        return _failure(exc, extra)


def _failure(error: ClawdbotError, extra: dict[str, str]) -> tuple[dict[str, str], bytes]:
    wire = to_wire(error, current_trace_id())
    envelope = {
        headers.SCHEMA: wire.SCHEMA,
        headers.ERROR: wire.code,
        headers.ERROR_CODE: str(error.status),
        **extra,
    }
    return envelope, encode(wire)
