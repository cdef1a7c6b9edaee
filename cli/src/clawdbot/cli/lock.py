"""One stack per data folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clawdbot.cli.failures import Failure


@contextmanager
def only_one(data_dir: Path) -> Iterator[None]:
    """Hold the folder, which is created with mode 0700 when it is missing.

    The lock is the kernel's: it ends with the process, however that ends.

    Raises:
        Failure: another process holds it; names that process.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(data_dir / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _hold(descriptor, data_dir)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        os.close(descriptor)


def _hold(descriptor: int, data_dir: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        holder = os.read(descriptor, 32).decode("ascii", "replace") or "unknown"
        raise Failure(
            f"a stack already runs on {data_dir} (process {holder})",
            fix="stop it first, or give this one a folder of its own in app.data_dir",
        ) from exc
