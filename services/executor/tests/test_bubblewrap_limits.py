"""What a greedy job takes, and what it leaves behind, through the real sandbox."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from clawdbot.executor.adapters.bubblewrap import BubblewrapOptions, BubblewrapSandbox
from clawdbot.executor.domain.capabilities import Guarantee, Level
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.executor import Outcome

from .conftest import PYTHON, Snippet, plan_of, run_as, run_plan

pytestmark = pytest.mark.asyncio(loop_scope="session")

_MIB = 1024 * 1024
_NEVER_ENDING = "import time\nwhile True: time.sleep(1)"


async def test_time_out_kills_the_whole_tree(snippet: Snippet) -> None:
    result = await snippet(
        "import os, signal\n"
        "for name in ('SIGTERM', 'SIGHUP', 'SIGINT'):\n"
        "    signal.signal(getattr(signal, name), signal.SIG_IGN)\n"
        "for _ in range(3):\n"
        "    if os.fork() == 0: os.setsid()\n"
        f"print('up', flush=True)\n{_NEVER_ENDING}",
        wall_s=1.0,
    )

    assert (result.outcome, result.exit_status) == (Outcome.TIMED_OUT, None)
    assert result.stdout.startswith(b"up\n")
    assert _processes_of_jobs() == []


async def test_processes_left_in_the_background_end_with_the_job(snippet: Snippet) -> None:
    result = await snippet(
        "import os\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    for fd in range(3): os.close(fd)\n"
        f"    exec({_NEVER_ENDING!r})\n"
        "print('done')"
    )

    assert (result.outcome, result.stdout) == (Outcome.FINISHED, b"done\n")
    assert _processes_of_jobs() == []


async def test_fork_bomb_is_held_and_ends(snippet: Snippet) -> None:
    result = await snippet(
        "import os, time\n"
        "made = 0\n"
        "while True:\n"
        "    try: pid = os.fork()\n"
        "    except OSError: break\n"
        "    if pid == 0: time.sleep(30)\n"
        "    made += 1\n"
        "print(made)\n",
        pids=24,
    )

    assert result.outcome is Outcome.FINISHED
    # Without a uid of its own the job shares one count with the other slots.
    assert int(result.stdout) <= 24 * BubblewrapOptions().slots + 8
    assert _processes_of_jobs() == []


async def test_memory_of_one_process_is_held(snippet: Snippet) -> None:
    result = await snippet(
        f"hog = bytearray(400 * {_MIB}); print(len(hog))", memory_bytes=64 * _MIB
    )

    assert result.stdout == b""
    assert result.outcome is Outcome.MEMORY_LIMIT or b"MemoryError" in result.stderr


async def test_memory_of_many_processes_together_is_held(
    sandbox: BubblewrapSandbox, snippet: Snippet
) -> None:
    if (await sandbox.probe()).levels[Guarantee.TREE_MEMORY] is not Level.ENFORCED:
        pytest.skip("no cgroup: the sandbox does not claim this")

    result = await snippet(
        "import os, time\n"
        "for _ in range(6):\n"
        f"    if os.fork() == 0: hog = bytearray(30 * {_MIB}); time.sleep(20); os._exit(0)\n"
        "print([os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(1)])",
        memory_bytes=96 * _MIB,
    )

    assert result.outcome is Outcome.MEMORY_LIMIT


async def test_files_in_memory_count_as_memory_or_disk(snippet: Snippet) -> None:
    result = await snippet(
        "written = 0\n"
        "try:\n"
        "    for name in ('/tmp/a', '/dev/shm/b', '/tmp/c'):\n"
        "        with open(name, 'wb', buffering=0) as f:\n"
        "            while True: written += f.write(bytes(65536))\n"
        "except OSError: print(written)\n",
        tmp_bytes=4 * _MIB,
    )

    assert 3 * _MIB < int(result.stdout) <= 4 * _MIB


async def test_number_of_files_is_held(snippet: Snippet) -> None:
    result = await snippet(
        "made = 0\n"
        "try:\n"
        "    while True: open(f'/tmp/{made}', 'w').close(); made += 1\n"
        "except OSError: print(made)\n",
        tmp_inodes=64,
    )

    assert int(result.stdout) < 64


async def test_flood_of_output_is_cut_and_the_job_killed(snippet: Snippet) -> None:
    result = await snippet(
        "import os\nwhile True: os.write(1, b'x' * 65536); os.write(2, b'y' * 65536)",
        output_bytes=100_000,
    )

    assert (result.outcome, result.truncated) == (Outcome.OUTPUT_LIMIT, True)
    assert len(result.stdout) + len(result.stderr) == 100_000


async def test_output_of_exactly_the_limit_is_whole(snippet: Snippet) -> None:
    result = await snippet("import os; os.write(1, b'x' * 5000)", output_bytes=5000)

    assert (result.outcome, result.truncated) == (Outcome.FINISHED, False)
    assert len(result.stdout) == 5000


async def test_descriptors_and_core_files_are_limited(snippet: Snippet) -> None:
    result = await snippet(
        "import resource as r\n"
        "print(r.getrlimit(r.RLIMIT_NOFILE), r.getrlimit(r.RLIMIT_CORE), r.getrlimit(r.RLIMIT_CPU))"
    )

    assert result.stdout == b"(256, 256) (0, 0) (10, 10)\n"


async def test_cancelling_a_run_kills_the_job(sandbox: BubblewrapSandbox) -> None:
    running = asyncio.ensure_future(run_plan(sandbox, plan_of(PYTHON, "-I", "-c", _NEVER_ENDING)))
    await _until(lambda: len(_processes_of_jobs()) > 0)

    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
    assert _processes_of_jobs() == []


async def test_cancelled_job_ends_as_cancelled(sandbox: BubblewrapSandbox) -> None:
    plan = plan_of(PYTHON, "-I", "-c", _NEVER_ENDING)
    running = asyncio.ensure_future(run_as(sandbox, "wanted", plan))
    await _until(lambda: len(_processes_of_jobs()) > 0)

    assert sandbox.cancel("wanted")
    assert not sandbox.cancel("another")

    assert (await running).outcome is Outcome.CANCELLED
    assert _processes_of_jobs() == []
    assert not sandbox.cancel("wanted")


async def test_caller_can_allow_less_time_than_the_profile(sandbox: BubblewrapSandbox) -> None:
    plan = plan_of(PYTHON, "-I", "-c", _NEVER_ENDING)

    result = await run_as(sandbox, "short", plan, at_most_s=0.2)

    assert result.outcome is Outcome.TIMED_OUT


async def test_more_jobs_than_slots_all_run(sandbox: BubblewrapSandbox) -> None:
    plans = [plan_of("/usr/bin/echo", str(number)) for number in range(12)]

    results = await asyncio.gather(*(run_plan(sandbox, plan) for plan in plans))

    assert [int(result.stdout) for result in results] == list(range(12))


async def test_jobs_side_by_side_have_different_host_users(sandbox: BubblewrapSandbox) -> None:
    if (await sandbox.probe()).levels[Guarantee.OWN_USER] is not Level.ENFORCED:
        pytest.skip("not root: the sandbox does not claim this")
    plan = plan_of(PYTHON, "-I", "-c", _NEVER_ENDING)

    running = [asyncio.ensure_future(run_plan(sandbox, plan)) for _ in range(2)]

    await _until(lambda: len({uid for _, uid in _processes_of_jobs()}) == 2)
    assert all(uid >= BubblewrapOptions().first_uid for _, uid in _processes_of_jobs())
    for run in running:
        run.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_nothing_is_left_after_many_killed_jobs(snippet: Snippet) -> None:
    mounts, groups = _launcher_mounts(), set(_groups())

    killed = await asyncio.gather(*(snippet(_NEVER_ENDING, wall_s=0.2) for _ in range(20)))

    assert {result.outcome for result in killed} == {Outcome.TIMED_OUT}
    assert _processes_of_jobs() == []
    assert set(_groups()) == groups
    await _until(lambda: _launcher_mounts() == mounts)


async def test_closed_sandbox_leaves_no_launcher_and_no_cgroup_and_refuses() -> None:
    opened = BubblewrapSandbox(BubblewrapOptions())
    if not (await opened.probe()).usable:
        await opened.aclose()
        pytest.skip("no sandbox to test")
    before = len(_launchers())

    await opened.aclose()

    assert len(_launchers()) == before - 1
    with pytest.raises(Unavailable, match="closed"):
        await run_plan(opened, plan_of("/usr/bin/true"))


@pytest.mark.slow
async def test_jobs_end_when_the_launcher_is_killed() -> None:
    opened = BubblewrapSandbox(BubblewrapOptions())
    others = set(_launchers())
    if not (await opened.probe()).usable:
        await opened.aclose()
        pytest.skip("no sandbox to test")
    (launcher,) = set(_launchers()) - others
    running = asyncio.ensure_future(run_plan(opened, plan_of("/usr/bin/sleep", "60")))
    await _until(lambda: len(_processes_of_jobs()) > 0)
    jobs = [pid for pid, _ in _processes_of_jobs()]

    os.kill(launcher, signal.SIGKILL)

    await asyncio.wait_for(opened.died(), 10)
    with pytest.raises(Unavailable, match="launcher is gone"):
        await running
    await _until(lambda: not any(pid in jobs for pid, _, _ in _processes()))
    await opened.aclose()


_SERVICE = """
import asyncio
from clawdbot.executor.adapters.bubblewrap import BubblewrapOptions, BubblewrapSandbox
from clawdbot.executor.domain.plan import Plan, Requester
from clawdbot.executor.domain.profile import PURE

async def main():
    async with BubblewrapSandbox.open(BubblewrapOptions()) as sandbox:
        nobody = Requester("t", "u", "c", "x")
        plan = Plan("test", 1, "", "", ("/usr/bin/sleep", "54321"), PURE, nobody)
        async with sandbox.slot("job") as run:
            await run(plan, 60.0)

asyncio.run(main())
"""


async def test_jobs_end_when_the_service_is_killed(sandbox: BubblewrapSandbox) -> None:
    service = await asyncio.create_subprocess_exec(sys.executable, "-c", _SERVICE)
    await _until(lambda: len(_commands(b"54321")) > 0)

    service.kill()
    await service.wait()

    await _until(lambda: _commands(b"54321") == [])
    await _until(lambda: set(_launchers(service.pid)) == set())


def _commands(word: bytes) -> list[int]:
    found = []
    for pid, _, _ in _processes():
        with suppress(FileNotFoundError, ProcessLookupError):
            if word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                found.append(pid)
    return found


def _processes_of_jobs() -> list[tuple[int, int]]:
    """Return pid and host uid of every process below a launcher of this test run."""
    parents = {pid: parent for pid, parent, _ in _processes()}
    users = {pid: uid for pid, _, uid in _processes()}
    ours = set(_launchers())

    def descends(pid: int) -> bool:
        while pid in parents:
            pid = parents[pid]
            if pid in ours:
                return True
        return False

    return [(pid, users[pid]) for pid in parents if descends(pid)]


def _launchers(service: int | None = None) -> list[int]:
    return [
        pid
        for pid, parent, _ in _processes()
        if parent == (service or os.getpid())
        and b"launcher_process.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def _processes() -> Iterator[tuple[int, int, int]]:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(") ")[2].split()
            yield int(entry.name), int(fields[1]), entry.stat().st_uid
        except (FileNotFoundError, ProcessLookupError):
            continue


def _launcher_mounts() -> int:
    return sum(len(Path(f"/proc/{pid}/mounts").read_text().splitlines()) for pid in _launchers())


def _groups() -> list[Path]:
    return [*Path("/sys/fs/cgroup").glob(f"**/clawdbot-executor-{os.getpid()}/*/")]


async def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        await asyncio.sleep(0.01)
