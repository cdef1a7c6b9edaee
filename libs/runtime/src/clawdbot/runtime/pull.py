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
from clawdbot.schema.streams import Consumer

log = logging.getLogger(__name__)

EXPIRES_S = 5.0
"""How long the broker keeps a request for messages; short, since a lost one costs that long."""
WATCHDOG_S = EXPIRES_S + 2
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
        on_message: must not raise; acknowledges the message itself.
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
            await self._unsubscribe(subscription)

    def stop(self) -> None:
        """Ask for nothing more."""
        self._stopping.set()
        self._changed.set()

    async def finish(self, grace_s: float) -> None:
        """Wait for running work at most `grace_s` seconds, then cancel it."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _request(self, inbox: str) -> None:
        free = self._limit - len(self._tasks)
        if free <= 0:
            return
        body = {"batch": free, "expires": int(EXPIRES_S * 1e9)}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._consumer.stream}.{self._consumer.durable}"
        try:
            await self._bus.client.publish(subject, json.dumps(body).encode(), reply=inbox)
            self._wanted = free
        except (nats.errors.Error, OSError) as exc:
            log.warning("cannot pull", extra={"error": type(exc).__name__})
            self._is_refused = True

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(PAUSE_S):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _until_served(self) -> None:
        """Return when the broker owes nothing more and there is room, or it fell silent."""
        try:
            async with asyncio.timeout(WATCHDOG_S):
                while not self._stopping.is_set():
                    self._changed.clear()
                    if self._wanted <= 0 and len(self._tasks) < self._limit:
                        return
                    await self._changed.wait()
        except TimeoutError:
            self._wanted = 0

    async def _receive(self, msg: Msg) -> None:
        if not msg.reply:
            # A status instead of a message: the request is over.
            self._wanted = 0
            self._is_refused = (msg.headers or {}).get(headers.STATUS) not in NOTHING_NOW
            self._changed.set()
            return
        self._wanted -= 1
        task = asyncio.create_task(self._work(msg), name=f"handle-{self._consumer.durable}")
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def _work(self, msg: Msg) -> None:
        await self._on_message(msg)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._changed.set()

    async def _unsubscribe(self, subscription: Subscription) -> None:
        if not self._bus.client.is_closed:
            await subscription.unsubscribe()
