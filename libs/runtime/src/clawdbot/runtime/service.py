"""The life of a service: what is opened in order is closed in reverse, and nothing outlives it."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from typing import Any, TypeVar

import uvloop

from clawdbot.runtime import metrics
from clawdbot.runtime.attempts import OrderedHandler, Pace
from clawdbot.runtime.bus import RENEW_EVERY_S, Bus
from clawdbot.runtime.config import Config, ConfigError, load_config
from clawdbot.runtime.connection import connected
from clawdbot.runtime.health import Health
from clawdbot.runtime.http_server import HTTPServer, ServerSettings
from clawdbot.runtime.logging import configure_logging
from clawdbot.runtime.ordered import OrderedConsumer, open_consumer, open_source
from clawdbot.runtime.rpc_server import RPCServer
from clawdbot.runtime.secrets import PRINCIPAL_PUBLIC, Secrets
from clawdbot.runtime.telemetry import tracing
from clawdbot.schema import streams
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError
from clawdbot.schema.principal import PrincipalVerifier
from clawdbot.schema.rpc import Call, Rpc, StreamRpc
from clawdbot.schema.wire import Wire

log = logging.getLogger(__name__)

T = TypeVar("T")
M = TypeVar("M", bound=Wire)
Req = TypeVar("Req", bound=Wire)
Rep = TypeVar("Rep", bound=Wire)
Item = TypeVar("Item", bound=Wire)

VERIFYING = ("memory", "executor")
"""Services that act on somebody's behalf, and so check who that is."""
PARENT_PIPE = "CLAWDBOT_PARENT_PIPE"
"""File descriptor whose end of file means that whoever supervises us is gone."""


EXIT_TIMEOUT_S = 10
"""How long the interpreter may take to end once everything is closed."""


class ServiceDied(Exception):
    """A task that must run for as long as the service has ended."""


class Runtime:
    """Everything that five services would otherwise repeat. Open it with `Runtime.open`."""

    def __init__(self, service: str, config: Config, bus: Bus, health: Health) -> None:
        self.service = service
        self.config = config
        self.secrets = Secrets.of(config)
        self.bus = bus
        self.health = health
        self._resources = AsyncExitStack()
        self._stop = asyncio.Event()
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._consumers: list[OrderedConsumer[Any]] = []
        self._died: str | None = None
        self._rpc = RPCServer(bus, version("clawdbot-runtime"), self._verifier())

    def _verifier(self) -> PrincipalVerifier | None:
        if self.service not in VERIFYING:
            return None
        return PrincipalVerifier(self.secrets.read(PRINCIPAL_PUBLIC))

    @classmethod
    @asynccontextmanager
    async def open(cls, service: str, config: Config) -> AsyncIterator[Runtime]:
        """Connect and be seen as starting; at the end close everything in reverse.

        Raises:
            Unavailable: the broker cannot be reached.
            ConfigError: a secret is missing or a port is taken.
            ServiceDied: a task that must keep running ended.
        """
        configure_logging(service, config)
        asyncio.get_running_loop().set_debug(config.app.debug)
        metrics.build.info({"version": version("clawdbot-runtime"), "service": service})
        health = Health(service)
        secrets = Secrets.of(config)
        with tracing(service, config):
            async with _health_server(service, config, health), AsyncExitStack() as stack:
                ending: list[Callable[[str], None]] = []
                client = await stack.enter_async_context(
                    connected(service, config, secrets, on_closed=lambda: _tell(ending))
                )
                runtime = cls(service, config, Bus(client, service), health)
                ending.append(runtime._die)
                health.ready_when("broker", runtime._broker_reason)
                with _signals(runtime.stop):
                    try:
                        await runtime._rpc.start()
                        yield runtime
                    finally:
                        await runtime._close()
        if runtime._died is not None:
            raise ServiceDied(runtime._died)

    def _broker_reason(self) -> str | None:
        return None if self.bus.is_connected else "the broker is not reachable"

    async def enter(self, resource: AbstractAsyncContextManager[T]) -> T:
        """Open `resource` and return what it gives; it is closed when the service stops."""
        return await self._resources.enter_async_context(resource)

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Run `work` beside the rest; its death is the service's death."""
        task = asyncio.create_task(work, name=name)
        self._tasks[task] = name
        task.add_done_callback(self._task_ended)
        # Its turn to end comes before that of whatever was opened earlier, which it may use.
        self._resources.push_async_callback(_end, task)
        return task

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        name = self._tasks.pop(task)
        error = None if task.cancelled() else task.exception()
        if self._stop.is_set() and error is None:
            return
        log.critical("a task ended", exc_info=error, extra={"task": name})
        self._die(f"the task {name!r} ended")

    def _die(self, reason: str) -> None:
        """Stop because going on would be a lie."""
        self._died = reason
        self.stop()

    async def respond(
        self,
        rpc: Rpc[Req, Rep],
        handler: Callable[[Req, Call], Awaitable[Rep]],
        *,
        target: str | None = None,
        concurrency: int = 64,
    ) -> None:
        """Answer `rpc` with `handler`; beyond `concurrency` at a time callers hear `Overloaded`."""
        await self._rpc.respond(rpc, handler, target, concurrency)

    async def respond_stream(
        self,
        rpc: StreamRpc[Req, Item, Rep],
        handler: Callable[[Req, Call], AsyncIterator[Item | Rep]],
        *,
        target: str | None = None,
        concurrency: int = 64,
    ) -> None:
        """Answer `rpc` with what `handler` yields, its last value closing the answer.

        The handler is cancelled when its caller leaves, falls silent, or the deadline passes.
        """
        await self._rpc.respond_stream(rpc, handler, target, concurrency)

    async def consume(
        self,
        stream: streams.Stream,
        consumer: streams.Consumer,
        kind: type[M],
        handler: OrderedHandler[M],
        *,
        concurrency: int,
    ) -> None:
        """Feed `handler` in the order of each conversation, `concurrency` of them at a time.

        Raises:
            Unavailable: the broker is not provisioned or does not answer.
        """
        settings = self.config.bus
        owner = f"{self.service}@{socket.gethostname()}:{os.getpid()}"
        pace = Pace(concurrency, settings.ack_wait_s, settings.max_attempts)
        held_for = settings.lease_ttl_s
        source = await open_source(self.bus, stream, consumer, kind)
        ordered = await open_consumer(self.bus, source, handler, pace, (owner, held_for))
        self._consumers.append(ordered)
        self.spawn(ordered.run(), name=f"consume-{consumer.durable}")

    def stop(self) -> None:
        """Begin to stop; safe to call more than once."""
        self.health.is_stopping = True
        self._stop.set()

    async def until_stopped(self) -> None:
        """Be ready, and return when the service is told to stop or a task of it died."""
        self.health.is_started = True
        self.spawn(self._tend_streams(), name="streamed-calls")
        log.info("ready", extra={"service": self.service, "pid": os.getpid()})
        await self._stop.wait()
        log.info("stopping", extra={"service": self.service})

    async def _tend_streams(self) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            await self._rpc.tend_streams()

    async def _close(self) -> None:
        self.stop()
        deadline = Deadline.after(self.config.ops.grace_s)
        # First what takes work in, then what answers others, then what they all stand on.
        await asyncio.gather(*(consumer.stop(deadline) for consumer in self._consumers))
        await self._rpc.stop(deadline)
        await self._resources.aclose()


def _tell(ending: list[Callable[[str], None]]) -> None:
    for die in ending:
        die("the connection to the broker was closed for good")


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def _health_server(service: str, config: Config, health: Health) -> AsyncIterator[None]:
    port: int = getattr(config.ops.health_ports, service)
    settings = ServerSettings(config.ops.health_host, port, max_connections=64, grace_s=1)
    async with HTTPServer.open(health.asgi, settings) as server:
        log.info("health server listens", extra={"port": server.port})
        yield


class _signals:  # noqa: N801 -- used as a statement: with _signals(stop)
    """Calls `stop` on SIGTERM, SIGINT and when the supervisor is gone."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._pipe = int(os.environ.pop(PARENT_PIPE, "-1"))

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        if self._pipe >= 0:
            os.set_inheritable(self._pipe, False)
            loop.add_reader(self._pipe, self._parent_spoke)

    def _parent_spoke(self) -> None:
        if not os.read(self._pipe, 1):
            asyncio.get_running_loop().remove_reader(self._pipe)
            self._stop()

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        if self._pipe >= 0:
            loop.remove_reader(self._pipe)


def main(service: str, run: Callable[[Config], Coroutine[Any, Any, None]]) -> None:
    """Run a service until it stops; exit status 2 for configuration, 1 for a death.

    Errors that we know are one line; only a bug shows a traceback.
    """
    try:
        config = load_config()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            try:
                runner.run(run(config))
            finally:
                # A thread of a library that does not end must not keep the process: say which.
                faulthandler.dump_traceback_later(EXIT_TIMEOUT_S, exit=True)
    except ConfigError as exc:
        sys.exit(_refuse(service, str(exc), 2))
    except (ClawdbotError, ServiceDied) as exc:
        sys.exit(_refuse(service, str(exc), 1))


def _refuse(service: str, reason: str, status: int) -> int:
    sys.stderr.write(f"clawdbot {service}: {reason}\n")
    return status
