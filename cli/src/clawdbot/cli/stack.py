"""The broker and the five services, alive together and stopped in order."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from clawdbot.cli.addresses import SERVICES, broker_port, gateway_workers, service_environment
from clawdbot.cli.backoff import Backoff
from clawdbot.cli.children import Child, ParentPipe, Program, how_it_ended
from clawdbot.cli.log_lines import Say
from clawdbot.runtime.broker import BrokerCredentials, BrokerProcess, BrokerSettings
from clawdbot.runtime.config import Config
from clawdbot.runtime.provision import provision
from clawdbot.runtime.secrets import JETSTREAM, Secrets, bus_seed
from clawdbot.schema.errors import ClawdbotError
from clawdbot.schema.permissions import USERS

_STOP_MARGIN_S = 5
"""On top of the grace that the services give their own work."""
STOP_ORDER = (("gateway",), ("assistant",), ("inference", "memory", "executor"))
"""Who asks ends before who answers; the broker ends last."""


class Stack:
    """All processes of one `clawdbot up`.

    Args:
        config: with ports that are no longer 0.
        config_path: the file that the services read.
        say: takes log lines.
        hurry: set when a person does not want to wait for an orderly end.
    """

    def __init__(
        self, config: Config, config_path: Path, *, say: Say, hurry: asyncio.Event
    ) -> None:
        self._config = config
        self._config_path = config_path
        self._say = say
        self._hurry = hurry

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.TaskGroup]:
        """Start everything, keep it running, and stop it in order at the end.

        Yields:
            The group of the tasks that keep it running; it ends when one of them fails.

        Raises:
            Unavailable: the broker does not start or cannot be provisioned.
        """
        async with self._broker() as broker:
            await provision(self._config, Secrets.of(self._config))
            pipe = ParentPipe()
            children = self._children(pipe)
            try:
                for child in children.values():
                    await child.start()
                async with asyncio.TaskGroup() as keepers:
                    keepers.create_task(self._keep_broker(broker), name="broker")
                    for child in children.values():
                        keepers.create_task(child.keep_running(), name=child.name)
                    yield keepers
            finally:
                await self._stop(children)
                pipe.close()

    def _broker(self) -> BrokerProcess:
        config, secrets = self._config, Secrets.of(self._config)
        return BrokerProcess(
            BrokerSettings(
                config.app.data_dir / "nats", broker_port(config), config.bus.durability
            ),
            BrokerCredentials.from_seeds(
                {user: secrets.read(bus_seed(user)) for user in USERS}, secrets.text(JETSTREAM)
            ),
            on_line=self._hear_broker,
        )

    def _hear_broker(self, line: str) -> None:
        # Its information is about itself; what concerns us comes as warning or error.
        if "[INF]" not in line:
            self._say("broker", line)

    def _children(self, pipe: ParentPipe) -> dict[str, Child]:
        environment = service_environment(self._config, self._config_path)
        programs = {name: (name, environment) for name in SERVICES}
        for name, port in gateway_workers(self._config).items():
            chosen = {"CLAWDBOT_OPS__HEALTH_PORTS__GATEWAY": str(port)}
            programs[name] = "gateway", environment | chosen
        return {
            name: Child(
                name,
                Program((sys.executable, "-m", f"clawdbot.{service}.main"), variables, pipe),
                self._say,
            )
            for name, (service, variables) in programs.items()
        }

    async def _keep_broker(self, broker: BrokerProcess) -> None:
        backoff = Backoff()
        while True:
            started_at = time.monotonic()
            status = await broker.wait()
            lived_s = time.monotonic() - started_at
            self._say("clawdbot", f"broker {how_it_ended(status)}")
            while not await self._revive(broker, backoff.after(lived_s)):
                lived_s = 0

    async def _revive(self, broker: BrokerProcess, wait_s: float) -> bool:
        self._say("clawdbot", f"broker starts again in {wait_s:g} s")
        await asyncio.sleep(wait_s)
        try:
            await broker.start()
            # What it keeps in memory alone, such as leases, went with it.
            await provision(self._config, Secrets.of(self._config))
        except ClawdbotError as exc:
            self._say("clawdbot", f"broker does not start: {exc.message}")
            return False
        self._say("clawdbot", "broker is back")
        return True

    async def _stop(self, children: dict[str, Child]) -> None:
        within_s = self._config.ops.grace_s + _STOP_MARGIN_S
        for services in STOP_ORDER:
            ending = [child for name, child in children.items() if name.split("-")[0] in services]
            await asyncio.gather(*(child.stop(within_s, self._hurry) for child in ending))
