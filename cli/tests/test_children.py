from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.cli.backoff import Backoff
from clawdbot.cli.children import Child, ParentPipe, Program
from clawdbot.cli.failures import Failure

Said = list[tuple[str, str]]


class Terminal:
    """Collects what is said, and lets a test wait for it."""

    def __init__(self) -> None:
        self.lines: Said = []
        self._changed = asyncio.Event()

    def say(self, name: str, line: str) -> None:
        self.lines.append((name, line))
        self._changed.set()

    def of(self, name: str) -> list[str]:
        return [line for speaker, line in self.lines if speaker == name]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


def child(code: str, terminal: Terminal, **options: object) -> Child:
    pipe = options.get("pipe")
    program = Program(
        (sys.executable, "-c", code), {}, pipe if isinstance(pipe, ParentPipe) else None
    )
    return Child("memory", program, terminal.say, backoff=Backoff(first_s=0.01, limit_s=0.02))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


async def keep(one: Child, terminal: Terminal, condition: Callable[[], bool]) -> None:
    await one.start()
    keeper = asyncio.create_task(one.keep_running())
    try:
        await terminal.until(condition)
    finally:
        keeper.cancel()
        await asyncio.wait([keeper])
        await one.stop(5, asyncio.Event())


async def test_a_crashed_child_is_started_again_and_its_exit_code_told() -> None:
    terminal = Terminal()
    one = child("print('hello'); raise SystemExit(7)", terminal)

    await keep(one, terminal, lambda: len(terminal.of("memory")) >= 3)

    told = terminal.of("clawdbot")
    assert told[0] == "memory ended with exit code 7, starts again in 0.01 s"
    assert told[1] == "memory ended with exit code 7, starts again in 0.02 s"


async def test_a_killed_child_is_told_by_its_signal() -> None:
    terminal = Terminal()
    one = child("import os; os.kill(os.getpid(), 9)", terminal)

    await keep(one, terminal, lambda: len(terminal.of("clawdbot")) >= 1)

    assert "memory was killed by SIGKILL" in terminal.of("clawdbot")[0]


async def test_a_child_that_refuses_its_configuration_is_not_started_again() -> None:
    terminal = Terminal()
    one = child("raise SystemExit(2)", terminal)
    await one.start()

    with pytest.raises(Failure, match="memory refuses its configuration") as refused:
        await one.keep_running()

    assert refused.value.status == 2


STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(60)
"""


async def test_a_child_that_does_not_end_is_killed() -> None:
    terminal = Terminal()
    one = child(STUBBORN, terminal)
    await one.start()
    await terminal.until(lambda: terminal.of("memory") == ["deaf"])
    pid = one.pid

    await one.stop(0.05, asyncio.Event())

    assert pid is not None
    assert not is_alive(pid)
    assert terminal.of("clawdbot") == ["memory does not end in time and is killed"]


async def test_a_hurry_ends_the_wait() -> None:
    terminal = Terminal()
    one = child(STUBBORN, terminal)
    await one.start()
    await terminal.until(lambda: terminal.of("memory") == ["deaf"])
    hurry = asyncio.Event()
    hurry.set()

    async with asyncio.timeout(10):
        await one.stop(60, hurry)

    assert one.pid is None


WITH_GRANDCHILD = """
import subprocess, sys, time
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(grandchild.pid, flush=True)
time.sleep(60)
"""


async def test_nothing_that_a_child_started_is_left_behind() -> None:
    terminal = Terminal()
    one = child(WITH_GRANDCHILD, terminal)
    await one.start()
    await terminal.until(lambda: len(terminal.of("memory")) == 1)
    grandchild = int(terminal.of("memory")[0])
    assert is_alive(grandchild)

    await one.stop(10, asyncio.Event())

    async with asyncio.timeout(10):
        while is_alive(grandchild):
            await asyncio.sleep(0.01)


WATCHING = """
import os
pipe = int(os.environ["CLAWDBOT_PARENT_PIPE"])
print("watching", flush=True)
print("alone" if os.read(pipe, 1) == b"" else "spoken to", flush=True)
"""


async def test_a_child_notices_that_its_parent_is_gone() -> None:
    terminal = Terminal()
    pipe = ParentPipe()
    one = child(WATCHING, terminal, pipe=pipe)
    await one.start()
    await terminal.until(lambda: terminal.of("memory") == ["watching"])

    pipe.close()

    await terminal.until(lambda: terminal.of("memory") == ["watching", "alone"])
    await one.stop(5, asyncio.Event())


async def test_a_child_inherits_its_environment_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOMEBODYS_PASSWORD", "secret")
    terminal = Terminal()
    one = child("import os; print(sorted(set(os.environ) - {'LC_CTYPE'}), flush=True)", terminal)

    await one.start()
    await terminal.until(lambda: len(terminal.of("memory")) == 1)
    await one.stop(5, asyncio.Event())

    assert terminal.of("memory") == ["[]"]


async def test_a_child_is_out_of_reach_of_the_terminals_ctrl_c() -> None:
    terminal = Terminal()
    one = child("import os; print(os.getsid(0), flush=True)", terminal)

    await one.start()
    await terminal.until(lambda: len(terminal.of("memory")) == 1)
    await one.stop(5, asyncio.Event())

    assert int(terminal.of("memory")[0]) != os.getsid(0)
    assert signal.getsignal(signal.SIGINT) is not None


@given(st.lists(st.floats(min_value=0, max_value=59), max_size=20))
def test_waits_double_up_to_the_limit(lives: list[float]) -> None:
    backoff = Backoff(first_s=0.5, limit_s=30, steady_s=60)

    waits = [backoff.after(lived) for lived in lives]

    assert waits == [min(30, 0.5 * 2**turn) for turn in range(len(lives))]


def test_who_ran_long_starts_again_quickly() -> None:
    backoff = Backoff(first_s=0.5, limit_s=30, steady_s=60)
    for _ in range(5):
        backoff.after(1)

    assert backoff.after(61) == 0.5
    assert backoff.after(1) == 1
