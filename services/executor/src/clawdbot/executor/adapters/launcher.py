"""The service's end of the launcher process: orders out, ends in."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from clawdbot.executor.ports import NotStarted
from clawdbot.schema.errors import Overloaded, Unavailable

SLOT_ROOT = "/tmp"  # noqa: S108 -- inside the launcher's private mount namespace
FILTER_FD, STATUS_FD = 3, 4
"""Where bubblewrap finds its two extra descriptors; it closes both before the job runs."""

_SCRIPT = Path(__file__).with_name("launcher_process.py")
_MAX_DATAGRAM = 1 << 18
_START_S = 10.0
"""A cold Python on a busy machine takes one second; ten means that something is wrong."""


@dataclass(frozen=True)
class Order:
    """What the launcher is to start, and under what."""

    argv: Sequence[str]
    slot: str
    uid: int | None
    """Host uid and gid of the job; None keeps the service's, which is then not root."""
    cgroups: Sequence[str]
    rlimits: Mapping[str, int]
    """By name as in the `resource` module; soft and hard limit alike."""
    tmp_bytes: int
    tmp_inodes: int


@dataclass(frozen=True)
class Ended:
    """How bubblewrap ended; the sandbox's processes and mounts are gone by then."""

    exit_status: int | None
    """Of the job; None when it was killed before it ended, or never started."""
    was_started: bool
    """Whether bubblewrap made the sandbox; it says so before anything runs in there."""


class Launcher:
    """A running launcher process. One per service; it serves any number of jobs at a time."""

    def __init__(self, process: Process, channel: socket.socket) -> None:
        self._process = process
        self._channel = channel
        self._ids = itertools.count(1)
        self._ends: dict[int, asyncio.Future[Ended]] = {}
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._dead = asyncio.Event()
        asyncio.get_running_loop().add_reader(channel, self._on_readable)

    @classmethod
    async def open(cls) -> Launcher:
        """Return a launcher that has its private namespace.

        Raises:
            Unavailable: the kernel does not allow one, or the process does not come up.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        command = (sys.executable, "-I", "-S", str(_SCRIPT), str(theirs.fileno()))
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=DEVNULL,
                env={},
                pass_fds=[theirs.fileno()],
                # Ctrl-C in a terminal must reach the service alone, which then ends its jobs.
                start_new_session=True,
            )
        launcher = cls(process, ours)
        try:
            async with asyncio.timeout(_START_S):
                await launcher._ready
        except BaseException as exc:
            await launcher.aclose()
            if isinstance(exc, TimeoutError):
                raise Unavailable("the sandbox launcher does not start") from exc
            raise
        return launcher

    async def died(self) -> None:
        """Wait until the launcher is gone."""
        await self._dead.wait()

    def start(self, order: Order, fds: Sequence[int]) -> tuple[int, asyncio.Future[Ended]]:
        """Start a job; return its number and what will be its end.

        Args:
            order: what to start.
            fds: standard input, output, error, and the filter; the caller may close them at once.

        Raises:
            Unavailable: the launcher is gone.
            Overloaded: its channel is full.
        """
        job = next(self._ids)
        end: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._send({"do": "start", "job": job, **asdict(order)}, fds)
        self._ends[job] = end
        return job, end

    def kill(self, job: int) -> None:
        """Kill a job's whole tree; its end follows. Without effect when it has ended."""
        if job in self._ends:
            self._send({"do": "kill", "job": job}, ())

    async def aclose(self) -> None:
        """End the launcher, and with it every job."""
        asyncio.get_running_loop().remove_reader(self._channel)
        self._channel.close()
        self._on_death()
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
        await self._process.wait()

    def _send(self, message: Mapping[str, object], fds: Sequence[int]) -> None:
        if self._dead.is_set():
            raise Unavailable("the sandbox launcher is gone")
        data = json.dumps(message, ensure_ascii=False).encode()
        try:
            socket.send_fds(self._channel, [data], list(fds))
        except BlockingIOError as exc:
            raise Overloaded("the sandbox launcher is behind") from exc
        except OSError as exc:
            raise Unavailable(f"the sandbox launcher cannot be reached: {exc}") from exc

    def _on_readable(self) -> None:
        try:
            data = self._channel.recv(_MAX_DATAGRAM)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._channel)
            self._on_death()
            return
        self._on_event(json.loads(data))

    def _on_event(self, event: dict[str, object]) -> None:
        if event["event"] == "ready":
            self._ready.set_result(None)
        elif event.get("job") is None:
            self._ready.set_exception(Unavailable(f"no private namespace: {event['reason']}"))
        else:
            self._on_end(event)

    def _on_end(self, event: dict[str, object]) -> None:
        end = self._ends.pop(int(str(event["job"])))
        if end.done():
            return
        if event["event"] == "refused":
            end.set_exception(NotStarted(f"the job could not be started: {event['reason']}"))
        else:
            report = str(event["report"])
            end.set_result(Ended(_exit_status(report), was_started="child-pid" in report))

    def _on_death(self) -> None:
        self._dead.set()
        gone = Unavailable("the sandbox launcher is gone")
        if not self._ready.done():
            self._ready.set_exception(gone)
        for end in self._ends.values():
            if not end.done():
                end.set_exception(gone)
        self._ends.clear()


def _exit_status(report: str) -> int | None:
    """Return the job's status as bubblewrap reported it, which it does once the job has started."""
    for line in report.splitlines():
        status = json.loads(line).get("exit-code")
        if isinstance(status, int):
            return status
    return None
