"""bubblewrap's command line for a profile: what a job sees, and in which order it is put there."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from clawdbot.executor.adapters.launcher import FILTER_FD, SLOT_ROOT, STATUS_FD
from clawdbot.executor.domain.profile import Profile

JOB_UID = 65534
"""What the job sees as its own uid and gid; on the host it has another."""

_ISOLATION = (
    "--unshare-all",
    # Both named again: --unshare-all only tries them, and --disable-userns needs the first.
    "--unshare-user",
    "--unshare-cgroup",
    "--disable-userns",
    "--die-with-parent",
    "--new-session",
    "--cap-drop",
    "ALL",
    "--hostname",
    "sandbox",
    "--uid",
    str(JOB_UID),
    "--gid",
    str(JOB_UID),
    "--clearenv",
)
_SYSTEM_FILES = ("/etc/ld.so.cache",)
"""Without it the dynamic loader searches; everything else in /etc is the host's business."""


def bubblewrap_command(
    bwrap: Path, profile: Profile, slot: str, argv: tuple[str, ...]
) -> list[str]:
    """Return the command that runs `argv` under `profile` with the writable directories of `slot`.

    The limits that bubblewrap cannot set (memory, processes, size of the slot) are not in it.
    """
    writable = f"{SLOT_ROOT}/{slot}"
    descriptors = ("--seccomp", str(FILTER_FD), "--json-status-fd", str(STATUS_FD))
    return [
        str(bwrap),
        *_ISOLATION,
        *_environment(profile),
        *_system(),
        # A writable /proc lets a job raise its own priority for survival; a writable /dev is an
        # uncounted tmpfs. /dev/shm is a mount of its own, so it stays writable and counted.
        *("--proc", "/proc", "--remount-ro", "/proc"),
        *("--dev", "/dev", "--bind", f"{writable}/shm", "/dev/shm", "--remount-ro", "/dev"),  # noqa: S108 -- the job's own
        *("--bind", f"{writable}/tmp", "/tmp", "--chdir", "/tmp"),  # noqa: S108 -- the job's own
        *("--remount-ro", "/"),
        *descriptors,
        "--",
        *argv,
    ]


def _environment(profile: Profile) -> Iterator[str]:
    for name, value in profile.environment.items():
        yield from ("--setenv", name, value)


def _system() -> Iterator[str]:
    yield from ("--ro-bind", "/usr", "/usr")
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        path = Path("/", name)
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), str(path))
        elif path.is_dir():
            yield from ("--ro-bind", str(path), str(path))
    for file in _SYSTEM_FILES:
        yield from ("--ro-bind-try", file, file)


def unfit(bwrap: Path) -> str | None:
    """Return why this binary must not be used, or None when it may."""
    try:
        status = bwrap.stat()
    except OSError as exc:
        return f"no bubblewrap at {str(bwrap)!r}: {exc.strerror}"
    if not stat.S_ISREG(status.st_mode):
        return f"{str(bwrap)!r} is not a file"
    if status.st_mode & (stat.S_ISUID | stat.S_ISGID):
        return f"{str(bwrap)!r} is setuid or setgid, which gives a job's mistakes root's power"
    return None
