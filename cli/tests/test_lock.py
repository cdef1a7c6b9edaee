from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clawdbot.cli.failures import Failure
from clawdbot.cli.lock import only_one

HOLDER = """
import sys, time, pathlib
from clawdbot.cli.lock import only_one
with only_one(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def hold_elsewhere(data_dir: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(data_dir)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def end(holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.communicate()


def test_a_second_stack_on_the_same_folder_is_refused_by_name(tmp_path: Path) -> None:
    holder = hold_elsewhere(tmp_path)

    try:
        with pytest.raises(Failure, match=f"process {holder.pid}"), only_one(tmp_path):
            pass
    finally:
        end(holder)


def test_a_killed_stack_leaves_no_lock_behind(tmp_path: Path) -> None:
    end(hold_elsewhere(tmp_path))

    with only_one(tmp_path):
        assert (tmp_path / "up.lock").read_text() == str(os.getpid())


def test_the_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    with only_one(tmp_path / "data"):
        assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
