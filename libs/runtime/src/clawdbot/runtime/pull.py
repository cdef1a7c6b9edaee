"""Pulls from a durable consumer, never more than can be worked on.

Not nats-py's `fetch`: with a batch above one it holds a first message back until the batch is full
or its time-out ends. Here each message is handed over as it arrives.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from clawdbot.runtime import headers
from clawdbot.runtime.bus import Bus
from clawdbot.runtime.delivery import attempt
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.streams import Consumer

log = logging.getLogger(__name__)

EXPIRES_S = 5.0
"""How long the broker keeps a request for messages; short, since a lost one costs that long."""
WATCHDOG_S = EXPIRES_S + 2
DRAIN_TIMEOUT_S = 2.0
LOOK_EVERY_S = 0.5
PAUSE_S = 0.5
"""Before asking again a broker that cannot serve right now."""
NOTHING_NOW = ("404", "408")
"""Statuses of a request that simply ran out."""


class PullLoop:
    """Hands each message of a consumer to `on_message`, at most `limit` at a time.

    Args:
        bus: the connection.
        consumer: a provisioned durable consumer.
        limit: how many `on_message` may run at once.
        on_message: acknowledges the message itself.
    """

    def __init__(
        self,
        bus: Bus,
        consumer: Consumer,
        limit: int,
        on_message: Callable[[Msg], Awaitable[None]],
    ) -> None:
        self._bus = bus
        self._consumer = consumer
        self._limit = limit
        self._on_message = on_message
        self._tasks: set[asyncio.Task[None]] = set()
        self._wanted = 0
        self._is_refused = False
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Pull until `stop` is called."""
        inbox = self._bus.client.new_inbox()
        subscription = await self._bus.client.subscribe(inbox, cb=self._receive)
        try:
            while not self._stopping.is_set():
                await self._request(inbox)
                await self._until_served()
                if self._is_refused:
                    self._is_refused = False
                    await self._pause()
        finally:
            await self._drain(subscription)
            self._ended.set()

    async def stop(self, deadline: Deadline) -> None:
        """Ask for nothing more and wait for running work until `deadline`, then cancel it."""
        self._stopping.set()
        self._changed.set()
        async with asyncio.timeout(DRAIN_TIMEOUT_S + 1):
            await self._ended.wait()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=max(deadline.remaining_s(), 0))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _request(self, inbox: str) -> None:
        free = self._limit - len(self._tasks)
        if free <= 0:
            return
        body = {"batch": free, "expires": int(EXPIRES_S * 1e9)}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._consumer.stream}.{self._consumer.durable}"
        self._wanted = free
        try:
            await self._bus.client.publish(subject, json.dumps(body).encode(), reply=inbox)
        except (nats.errors.Error, OSError) as exc:
            log.warning("cannot pull", extra={"error": type(exc).__name__})
            self._wanted = 0
            self._is_refused = True

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(PAUSE_S):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _until_served(self) -> None:
        """Return when there is room and the broker owes nothing more, or can no longer know us."""
        reconnects = self._reconnects()
        silent_at = asyncio.get_running_loop().time() + WATCHDOG_S
        while not self._stopping.is_set():
            self._changed.clear()
            if self._wanted <= 0 and len(self._tasks) < self._limit:
                return
            # A broker that was away has forgotten the request.
            is_forgotten = self._reconnects() != reconnects
            if is_forgotten or asyncio.get_running_loop().time() > silent_at:
                self._wanted = 0
                silent_at += WATCHDOG_S
                continue
            await self._next_change()

    def _reconnects(self) -> int:
        return int(self._bus.client.stats["reconnects"])

    async def _next_change(self) -> None:
        try:
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _receive(self, msg: Msg) -> None:
        if not msg.reply:
            # A status instead of a message: the request is over.
            self._wanted = 0
            self._is_refused = (msg.headers or {}).get(headers.STATUS) not in NOTHING_NOW
            self._changed.set()
            return
        self._wanted -= 1
        self._changed.set()
        name = f"handle-{self._consumer.durable}"
        task = asyncio.create_task(self._work(msg), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def _work(self, msg: Msg) -> None:
        outcome = await attempt(self._on_message(msg))
        if outcome.error is not None:
            log.error("delivery left unanswered", extra={"reason": outcome.error.message})

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._changed.set()

    async def _drain(self, subscription: Subscription) -> None:
        """Unsubscribe, but take what was delivered already, so that it can be handed back."""
        if self._bus.client.is_closed:
            return
        try:
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                await subscription.drain()  # type: ignore[no-untyped-call]  # nats-py leaves it untyped
        except (nats.errors.Error, TimeoutError, OSError) as exc:
            log.warning("deliveries not drained", extra={"error": type(exc).__name__})
