"""The five services as our children: started, listened to, started again, stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from clawdbot.cli.backoff import Backoff
from clawdbot.cli.failures import MISUSED, Failure
from clawdbot.cli.log_lines import LineSplitter, Say

PARENT_PIPE = "CLAWDBOT_PARENT_PIPE"
"""Names the inherited descriptor whose end of file tells a service that we are gone."""
_LAST_WORDS_S = 1.0
"""Grandchildren may hold a dead child's output open; nobody waits longer for it."""


class ParentPipe:
    """A pipe that nothing is ever written to: it ends when we do, however we do."""

    def __init__(self) -> None:
        self.read_end, self._write_end = os.pipe()

    def close(self) -> None:
        """Let go of both ends."""
        os.close(self.read_end)
        os.close(self._write_end)


@dataclass(frozen=True)
class Program:
    """What a child runs: program and arguments, all of its environment, the pipe it watches."""

    command: Sequence[str]
    environment: Mapping[str, str]
    parent_pipe: ParentPipe | None = None

    async def start(self, output: int) -> asyncio.subprocess.Process:
        """Start it in a session of its own, with `output` for whatever it says."""
        environment = dict(self.environment)
        inherited: tuple[int, ...] = ()
        if self.parent_pipe is not None:
            inherited = (self.parent_pipe.read_end,)
            environment[PARENT_PIPE] = str(self.parent_pipe.read_end)
        return await asyncio.create_subprocess_exec(
            *self.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
            pass_fds=inherited,
        )


class Child:
    """One service in a process group of its own, so that Ctrl-C reaches it through us alone.

    Args:
        name: who speaks in the log.
        program: what it runs.
        say: takes its log lines.
        backoff: how long to wait before it is started again.
    """

    def __init__(
        self, name: str, program: Program, say: Say, *, backoff: Backoff | None = None
    ) -> None:
        self.name = name
        self._program = program
        self._say = say
        self._backoff = backoff or Backoff()
        self._process: asyncio.subprocess.Process | None = None
        self._listener: asyncio.Task[None] | None = None
        self._started_at = 0.0

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        process = self._process
        return None if process is None or process.returncode is not None else process.pid

    async def start(self) -> None:
        """Start it."""
        ours, theirs = os.pipe()
        try:
            self._process = await self._program.start(theirs)
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        self._started_at = time.monotonic()
        self._listener = asyncio.create_task(self._listen(ours), name=f"log of {self.name}")

    async def keep_running(self) -> None:
        """Start it again whenever it ends; does not return.

        Raises:
            Failure: it refuses its configuration, which another start does not change.
        """
        while True:
            status = await self._ended()
            if status == MISUSED:
                raise Failure(
                    f"{self.name} refuses its configuration; its last log lines say why",
                    status=MISUSED,
                )
            wait_s = self._backoff.after(time.monotonic() - self._started_at)
            self._say(
                "clawdbot", f"{self.name} {how_it_ended(status)}, starts again in {wait_s:g} s"
            )
            await asyncio.sleep(wait_s)
            await self.start()

    async def stop(self, within_s: float, hurry: asyncio.Event) -> None:
        """Ask it to end; force it after `within_s` seconds or as soon as there is a hurry."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            if not await _ends(process, within_s, hurry):
                self._say("clawdbot", f"{self.name} does not end in time and is killed")
        self._kill_group(process)
        await process.wait()
        await self._hear_out()
        self._process = None

    async def _ended(self) -> int:
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        status = await self._process.wait()
        self._kill_group(self._process)
        await self._hear_out()
        return status

    def _kill_group(self, process: asyncio.subprocess.Process) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)

    async def _hear_out(self) -> None:
        if self._listener is not None:
            await asyncio.wait([self._listener], timeout=_LAST_WORDS_S)
            self._listener.cancel()
            self._listener = None

    async def _listen(self, descriptor: int) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
        )
        lines = LineSplitter()
        try:
            while data := await reader.read(65536):
                for line in lines.feed(data):
                    self._say(self.name, line)
        finally:
            transport.close()
            for line in lines.rest():
                self._say(self.name, line)


async def _ends(process: asyncio.subprocess.Process, within_s: float, hurry: asyncio.Event) -> bool:
    ended = asyncio.create_task(process.wait(), name="child ends")
    hurried = asyncio.create_task(hurry.wait(), name="hurry")
    try:
        await asyncio.wait({ended, hurried}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        return ended.done()
    finally:
        ended.cancel()
        hurried.cancel()


def how_it_ended(status: int) -> str:
    """Return a process's exit status in words."""
    if status >= 0:
        return f"ended with exit code {status}"
    return f"was killed by {signal.Signals(-status).name}"
