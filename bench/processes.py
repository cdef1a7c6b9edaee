"""Real processes on the loopback address, in a folder that is gone afterwards."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clawdbot.cli.secrets_setup import ensure_secrets
from clawdbot.runtime.broker import BrokerCredentials, BrokerProcess, BrokerSettings
from clawdbot.runtime.bus import Bus
from clawdbot.runtime.config import Config
from clawdbot.runtime.config_sections import HealthPorts, RateSettings
from clawdbot.runtime.connection import connected
from clawdbot.runtime.provision import provision
from clawdbot.runtime.secrets import JETSTREAM, Secrets, bus_seed
from clawdbot.runtime.service import PARENT_PIPE
from clawdbot.runtime.testing import free_port
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.permissions import USERS

ROOT = Path(__file__).parents[1]
READY = b'"ready"'
"""What every process writes to standard error when it serves."""
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
RATES = [name for name in RateSettings.model_fields if name.endswith("_per_s")]
BURSTS = [name for name in RateSettings.model_fields if name.endswith("_burst")]

Durability = Literal["strict", "relaxed"]


@dataclass(frozen=True)
class Stack:
    """A provisioned broker, and whatever is started beside it."""

    directory: Path
    config: Config
    secrets: Secrets

    @asynccontextmanager
    async def bus(self, user: str) -> AsyncIterator[Bus]:
        """Connect as `user`."""
        async with connected(user, self.config, self.secrets) as client:
            yield Bus(client, user)

    @asynccontextmanager
    async def process(self, module: str, *arguments: str) -> AsyncIterator[int]:
        """Run `python -m module` from when it serves until the context is left.

        Yields:
            Its process id.

        Raises:
            Unavailable: it does not start; says what it wrote last.
        """
        log = self.directory / f"{module}.log"
        with log.open("wb") as output:
            process = await self._start(module, arguments, output.fileno())
        try:
            await _until_ready(module, process, log)
            yield process.pid
        finally:
            await _stop(process)

    async def _start(
        self, module: str, arguments: tuple[str, ...], output: int
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            *arguments,
            # Its end of file is our end, however we end.
            stdin=asyncio.subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd=ROOT,
            env={
                **os.environ,
                "CLAWDBOT_CONFIG": str(self.directory / "config.yaml"),
                PARENT_PIPE: "0",
            },
        )


@asynccontextmanager
async def stack(durability: Durability, **sections: dict[str, object]) -> AsyncIterator[Stack]:
    """Start a broker on a free port and provision it.

    Args:
        durability: of the broker.
        sections: of the configuration, beside our own.
    """
    with tempfile.TemporaryDirectory(prefix="clawdbot-bench-") as name:
        directory = Path(name)
        config = _config(directory, durability, sections)
        # JSON is YAML, too.
        (directory / "config.yaml").write_text(config.model_dump_json())
        secrets = Secrets(directory / "secrets")
        ensure_secrets(secrets.directory)
        port = int(config.bus.url.rpartition(":")[2])
        settings = BrokerSettings(directory / "nats", port, durability)
        seeds = {user: secrets.read(bus_seed(user)) for user in USERS}
        credentials = BrokerCredentials.from_seeds(seeds, secrets.text(JETSTREAM))
        async with BrokerProcess(settings, credentials):
            await provision(config, secrets)
            yield Stack(directory, config, secrets)


def _config(
    directory: Path, durability: Durability, more: Mapping[str, dict[str, object]]
) -> Config:
    sections: dict[str, dict[str, object]] = {
        "app": {"data_dir": directory, "port": free_port()},
        "models": {"directory": ROOT / "models"},
        "bus": {"url": f"nats://127.0.0.1:{free_port()}", "durability": durability},
        "ops": {
            "health_ports": dict.fromkeys(HealthPorts.model_fields, 0),
            "log_format": "json",
        },
        # The limits are looked at and never reached: one client stands for all of them.
        "gateway": {"rates": dict.fromkeys(RATES, 1e9) | dict.fromkeys(BURSTS, 10**9)},
    }
    for name, keys in more.items():
        sections[name] = {**sections.get(name, {}), **keys}
    return Config.model_validate(sections)


async def _until_ready(module: str, process: asyncio.subprocess.Process, log: Path) -> None:
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while process.returncode is None:
                # Its log is a file, so that it costs us nothing while we measure.
                if READY in await asyncio.to_thread(log.read_bytes):
                    return
                await asyncio.sleep(0.05)
    except TimeoutError as exc:
        raise Unavailable(f"{module} is not ready after {START_TIMEOUT_S:g} s") from exc
    last = (await asyncio.to_thread(log.read_text, errors="replace"))[-2000:]
    raise Unavailable(f"{module} ended with status {process.returncode}:\n{last}")


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
