"""Keeps a second process away from a SQLite file: two would each trust their own projection."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clawdbot.runtime.config import ConfigError


@contextmanager
def sole_user_of(path: Path) -> Iterator[None]:
    """Hold `<path>.lock` while within; the kernel lets go of it however this process ends.

    Raises:
        ConfigError: another process holds it, or the folder cannot be written to.
    """
    lock = path.with_name(f"{path.name}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        # Owner only: whoever can lock the file can keep the service from starting.
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise ConfigError(f"cannot write {lock}: {exc.strerror}; check memory.db_path") from exc
    try:
        _take(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        raise ConfigError(
            f"{path} is in use by another memory service (process {holder}); SQLite serves one "
            "replica only: stop it, or give this one another memory.db_path"
        ) from exc
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
