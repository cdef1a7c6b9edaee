"""Where there is no sandbox, nothing runs, and the reason is told."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from clawdbot.executor.adapters.bubblewrap import BubblewrapOptions, BubblewrapSandbox
from clawdbot.executor.adapters.bubblewrap_probe import ESSENTIAL, seen
from clawdbot.executor.domain.capabilities import Guarantee
from clawdbot.schema.errors import Unavailable

from .conftest import plan_of, run_plan

linux = pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap is Linux alone")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return Path(shutil.copy("/bin/true", tmp_path / "bwrap"))


@pytest.fixture
def setuid_program(program: Path) -> Path:
    program.chmod(0o4755)
    return program


@linux
async def test_missing_binary_is_named() -> None:
    found = await BubblewrapSandbox(BubblewrapOptions(bwrap=Path("/no/bwrap"))).probe()

    assert not found.usable
    assert "/no/bwrap" in found.reason


@linux
async def test_setuid_binary_is_refused(setuid_program: Path) -> None:
    found = await BubblewrapSandbox(BubblewrapOptions(bwrap=setuid_program)).probe()

    assert not found.usable
    assert "setuid" in found.reason


@linux
async def test_binary_that_isolates_nothing_is_found_out_by_running_it(program: Path) -> None:
    sandbox = BubblewrapSandbox(BubblewrapOptions(bwrap=program))

    found = await sandbox.probe()

    assert not found.usable
    await sandbox.aclose()


async def test_nothing_runs_before_the_sandbox_was_seen_to_work() -> None:
    sandbox = BubblewrapSandbox(BubblewrapOptions())

    with pytest.raises(Unavailable, match="not probed"):
        await run_plan(sandbox, plan_of("/usr/bin/true"))


@pytest.mark.skipif(sys.platform == "linux", reason="told elsewhere")
async def test_other_systems_are_told_what_is_missing() -> None:
    found = await BubblewrapSandbox(BubblewrapOptions()).probe()

    assert found.reason == ("bubblewrap needs Linux; the container backend is not available yet")


@linux
def test_report_of_a_process_outside_a_sandbox_shows_no_guarantee() -> None:
    files = ("/proc/self/status", "/proc/self/mountinfo", "/proc/self/net/dev")
    report = "".join(Path(file).read_text() for file in files)

    held = seen(report)

    assert held.isdisjoint({Guarantee.SYSCALL_FILTER, Guarantee.FRESH_PROC, Guarantee.DISK})
    assert not held >= ESSENTIAL


def test_empty_report_shows_no_guarantee() -> None:
    assert seen("") == frozenset()
