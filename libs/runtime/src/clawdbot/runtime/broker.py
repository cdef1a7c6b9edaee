"""A nats-server as a child process of ours, for `clawdbot up` and for tests."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from clawdbot.runtime.broker_binary import find_nats_server
from clawdbot.runtime.broker_config import (
    KEY_VARIABLE,
    MAX_PAYLOAD_BYTES,
    BrokerCredentials,
    BrokerSettings,
    new_user_seed,
    public_key,
    render_broker_config,
)
from clawdbot.schema.errors import Unavailable

__all__ = [
    "BrokerCredentials",
    "BrokerProcess",
    "BrokerSettings",
    "find_nats_server",
    "new_user_seed",
    "public_key",
    "render_broker_config",
]

# A line says that the broker was stopped already; end of file, that we died without stopping it.
_GUARDIAN = """
read -r _ && exit 0
kill -s TERM -- "-$1"
tries=50
while [ $tries -gt 0 ] && kill -s 0 -- "-$1"; do sleep 0.1; tries=$((tries - 1)); done
kill -s KILL -- "-$1"
"""


class BrokerProcess:
    """A nats-server as our child; use it with `async with`.

    It runs in its own session, so a terminal's Ctrl-C does not reach it before its clients are
    done. A guardian, a shell that waits on a pipe from us, ends it when we are killed: Linux's
    parent-death signal does that too, but is bound to a thread and does not exist on macOS.

    Args:
        on_line: told each line that the broker logs.
        executable: instead of `find_nats_server()`.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        credentials: BrokerCredentials,
        *,
        executable: Path | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        self._settings = settings
        self._credentials = credentials
        self._executable = executable
        self._on_line = on_line
        self._process: asyncio.subprocess.Process | None = None
        self._guardian: asyncio.subprocess.Process | None = None
        self._pump: asyncio.Task[None] | None = None
        self._last_lines: deque[str] = deque(maxlen=5)
        self._is_locked = False

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://{self._settings.host}:{self._settings.port}"

    @property
    def pid(self) -> int | None:
        """The running server's process id."""
        return None if self._process is None else self._process.pid

    async def __aenter__(self) -> Self:
        """Start it."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it."""
        await self.stop()

    async def start(self, *, within_s: float = 30) -> None:
        """Return when the broker accepts connections.

        Raises:
            Unavailable: no binary, the port is taken, or it does not start; says why.
        """
        await self.kill()
        if self._executable is None:
            self._executable = await asyncio.to_thread(find_nats_server)
        self._require_free_port()
        config = self._write_config()
        self._last_lines.clear()
        self._is_locked = False
        # Quoted, since the server parses the variable's text as configuration.
        environment = {KEY_VARIABLE: json.dumps(self._credentials.jetstream_key)}
        self._process = await asyncio.create_subprocess_exec(
            self._executable,
            "--config",
            config,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        self._pump = asyncio.create_task(self._read_log(self._process), name="broker log")
        try:
            await self._guard(self._process.pid)
            await self._until_accepting(self._process, within_s)
        except BaseException:
            await self.kill()
            raise

    async def wait(self) -> int:
        """Return the exit status once the broker has ended; negative for a signal."""
        if self._process is None:
            raise Unavailable("the broker was not started")
        return await self._process.wait()

    async def stop(self, *, within_s: float = 10) -> None:
        """End it in order; by force after `within_s` seconds."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        await self._dismiss_guardian()
        if self._pump is not None:
            await self._pump
        self._process = self._pump = None

    async def restart(self) -> None:
        """End it in order and start it again on the same store."""
        await self.stop()
        await self.start()

    def _require_free_port(self) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self._settings.host, self._settings.port))
            except OSError as exc:
                raise Unavailable(
                    f"the broker cannot listen on {self._settings.host}:{self._settings.port}: "
                    f"{exc.strerror}",
                    fix="stop what uses that port, or set another one in bus.url",
                ) from exc

    def _write_config(self) -> Path:
        directory = self._settings.directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = directory / "nats-server.conf"
        path.touch(mode=0o600)
        path.chmod(0o600)
        path.write_text(render_broker_config(self._settings, self._credentials.public_keys))
        return path

    async def _guard(self, process_group: int) -> None:
        self._guardian = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            _GUARDIAN,
            "clawdbot-broker-guardian",
            str(process_group),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={"PATH": os.defpath},
            start_new_session=True,
        )

    async def _dismiss_guardian(self) -> None:
        if self._guardian is not None:
            with suppress(BrokenPipeError, ConnectionResetError):
                await self._guardian.communicate(b"\n")
        self._guardian = None

    async def _read_log(self, process: asyncio.subprocess.Process) -> None:
        log = process.stderr
        while log is not None and (line := await log.readline()):
            text = line.decode("utf-8", "replace").rstrip()
            self._last_lines.append(text)
            self._is_locked |= "Error decrypting" in text
            if self._on_line is not None:
                self._on_line(text)

    async def _until_accepting(self, process: asyncio.subprocess.Process, within_s: float) -> None:
        try:
            async with asyncio.timeout(within_s):
                while not await self._greets():
                    if process.returncode is not None:
                        break
                    # The server has no way to tell a parent that it is ready.
                    await asyncio.sleep(0.02)
        except TimeoutError as exc:
            raise Unavailable(f"nats-server is not ready after {within_s:g} s") from exc
        if process.returncode is not None:
            last = "; ".join(self._last_lines)
            raise Unavailable(f"nats-server ended with status {process.returncode}: {last}")
        # The server itself goes on without the streams, and they would be created anew, empty.
        if self._is_locked:
            raise Unavailable(
                f"{self._settings.directory} is encrypted with another key",
                fix="restore the secret jetstream_key that it was created with",
            )

    async def _greets(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection(
                self._settings.host, self._settings.port, limit=MAX_PAYLOAD_BYTES
            )
        except OSError:
            return False
        try:
            async with asyncio.timeout(1):
                greeting = await reader.readline()
        except OSError:  # TimeoutError is one
            return False
        finally:
            writer.close()
        return greeting.startswith(b"INFO ")
