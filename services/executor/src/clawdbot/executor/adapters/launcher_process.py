"""The small process that starts jobs; a script for `launcher.Launcher`, standard library only.

Starting a job needs a mount of its own, a cgroup, rlimits and another uid, all between fork and
exec. Done from the service that would fork a large, threaded interpreter; this one is small and has
one thread. It keeps its mounts in a private namespace, so that none outlives it, and takes every
job with it when it dies.

Each datagram of the channel is one JSON object. In: `start` with four descriptors (standard input,
output, error and the filter, which become 0 to 3; 4 is bubblewrap's status) and `kill`. Out:
`ready`, `refused`, and one `exited` or `refused` for each start.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import selectors
import signal
import socket
import sys
from array import array
from pathlib import Path
from typing import Any

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_MS_NOSUID_NODEV = 2 | 4
_MS_PRIVATE_RECURSIVE = 0x40000 | 0x4000
_MNT_DETACH = 2
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_MAX_DATAGRAM = 1 << 18

_HIGHEST_FD = 4096
"""More than this process ever has open; a job gets nothing but its five."""

_BASE = Path("/tmp")  # noqa: S108 -- covered by a tmpfs of ours before anything is put there
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount_tmpfs(target: Path, options: str) -> None:
    arguments = (b"tmpfs", os.fsencode(target), b"tmpfs", _MS_NOSUID_NODEV, options.encode())
    _check(_libc.mount(*arguments), "mount tmpfs")


def enter_private_namespace() -> None:
    """Leave the host's mounts; without root, through a user namespace of the same uid.

    Raises:
        OSError: the kernel or a security module does not allow it.
    """
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        _check(_libc.unshare(_CLONE_NEWNS), "unshare mount namespace")
    else:
        _check(_libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS), "unshare user namespace")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    _check(_libc.mount(b"none", b"/", None, _MS_PRIVATE_RECURSIVE, None), "make mounts private")
    _mount_tmpfs(_BASE, "mode=0711,size=64k")


class _Job:
    # Not a dataclass: that module alone would add a third to what every fork copies.
    def __init__(self, number: int, slot: Path, status_fd: int, pid: int) -> None:
        self.id = number
        self.slot = slot
        self.status_fd = status_fd
        self.pid = pid
        """bubblewrap itself until it ends, then the first process of the sandbox."""
        self.is_sandbox = False
        self.report = ""


class LauncherProcess:
    """Starts, kills and reaps jobs, one event at a time."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._jobs: dict[int, _Job] = {}
        self._events = selectors.DefaultSelector()
        self._events.register(channel, selectors.EVENT_READ)

    def serve(self) -> None:
        """Work until the service closes the channel."""
        while True:
            for key, _ in self._events.select():
                if key.data is not None:
                    self._on_exit(key.data, key.fd)
                elif not self._on_message():
                    return

    def _on_message(self) -> bool:
        data, fds = _receive(self._channel)
        if not data:
            return False
        message = json.loads(data)
        if message["do"] == "kill":
            self._kill(message["job"])
            return True
        try:
            job = self._start(message, fds)
        except OSError as exc:
            self._say({"event": "refused", "job": message["job"], "reason": str(exc)})
        else:
            # "Refused" says that nothing ran, so what fails after the fork must not end as that.
            self._jobs[job.id] = job
            self._watch(job)
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def _start(self, order: dict[str, Any], fds: list[int]) -> _Job:
        slot = _BASE / order["slot"]
        _prepare_slot(slot, order)
        status_read, status_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        pid = os.fork()
        if pid == 0:
            _become(order, [*fds, status_write])
        os.close(status_write)
        return _Job(order["job"], slot, status_read, pid)

    def _watch(self, job: _Job) -> None:
        self._events.register(os.pidfd_open(job.pid), selectors.EVENT_READ, job)

    def _kill(self, job_id: int) -> None:
        job = self._jobs.get(job_id)
        if job is not None:
            os.kill(job.pid, signal.SIGKILL)

    def _on_exit(self, job: _Job, pidfd: int) -> None:
        self._events.unregister(pidfd)
        os.close(pidfd)
        os.waitpid(job.pid, 0)
        if not job.is_sandbox:
            job.report = _drain(job.status_fd)
            # The namespace's first process becomes our child when bubblewrap ends. Only when it
            # is gone too has the kernel killed and reaped everything the job ever started.
            job.pid, job.is_sandbox = _first_process(job.report), True
            if _is_child(job.pid):
                self._watch(job)
                return
            self._end_strays()
        self._finish(job)

    def _end_strays(self) -> None:
        # bubblewrap can be killed after it made the sandbox and before it told us its pid.
        known = {job.pid for job in self._jobs.values()}
        for pid in _children() - known:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def _finish(self, job: _Job) -> None:
        del self._jobs[job.id]
        # First, so that nobody waits for the unmount; the slot's name is never used again.
        self._say({"event": "exited", "job": job.id, "report": job.report})
        _check(_libc.umount2(os.fsencode(job.slot), _MNT_DETACH), "umount")
        job.slot.rmdir()

    def _say(self, event: dict[str, Any]) -> None:
        self._channel.send(json.dumps(event).encode())


def _receive(channel: socket.socket) -> tuple[bytes, list[int]]:
    # Not socket.recv_fds: it drops the flag, and the descriptors would reach every later job.
    room = socket.CMSG_SPACE(4 * 4)
    data, control, _, _ = channel.recvmsg(_MAX_DATAGRAM, room, socket.MSG_CMSG_CLOEXEC)
    fds = array("i")
    for _, _, payload in control:
        fds.frombytes(payload)
    return data, list(fds)


def _prepare_slot(slot: Path, order: dict[str, Any]) -> None:
    slot.mkdir()
    limits = f"size={order['tmp_bytes']},nr_inodes={order['tmp_inodes']}"
    _mount_tmpfs(slot, f"mode=0711,{limits}")
    for name in ("tmp", "shm"):
        directory = slot / name
        directory.mkdir(mode=0o700)
        if order["uid"] is not None:
            os.chown(directory, order["uid"], order["uid"])


def _become(order: dict[str, Any], fds: list[int]) -> None:
    """Turn this fresh child into the job; never returns."""
    try:
        for entrance in order["cgroups"]:
            _enter(entrance)
        # Out of the way first: the targets 0 to 4 may be among the sources.
        high = [os.dup2(fd, 100 + index, inheritable=False) for index, fd in enumerate(fds)]
        for target, fd in enumerate(high):
            os.dup2(fd, target)
        os.closerange(len(fds), _HIGHEST_FD)
        for name, value in order["rlimits"].items():
            _lower_limit(getattr(resource, name), value)
        if order["uid"] is not None:
            os.setgroups([])
            os.setresgid(order["uid"], order["uid"], order["uid"])
            os.setresuid(order["uid"], order["uid"], order["uid"])
        _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
        os.execve(order["argv"][0], order["argv"], {})  # noqa: S606 -- the point of this process
    except BaseException as exc:
        # Whatever it was, this copy of the launcher must not return into its loop.
        os.write(2, f"launcher: {exc}\n".encode())
    finally:
        os._exit(127)


def _enter(cgroup: str) -> None:
    fd = os.open(cgroup, os.O_WRONLY)
    os.write(fd, b"0")
    os.close(fd)


def _lower_limit(number: int, value: int) -> None:
    _, hard = resource.getrlimit(number)
    lowered = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(number, (lowered, lowered))


def _drain(fd: int) -> str:
    """Return what waits in the pipe, and close it; a half-made sandbox may still hold its end."""
    try:
        return os.read(fd, 65536).decode()
    except BlockingIOError:
        return ""
    finally:
        os.close(fd)


def _first_process(report: str) -> int:
    """Return the host pid that bubblewrap reported for the sandbox's first process, 0 if none."""
    lines = [json.loads(line) for line in report.splitlines()]
    return next((line["child-pid"] for line in lines if "child-pid" in line), 0)


def _is_child(pid: int) -> bool:
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except OSError:
        return False
    return pid > 0


def _children() -> frozenset[int]:
    try:
        text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    except FileNotFoundError:
        return frozenset()
    return frozenset(map(int, text.split()))


def main() -> int:
    """Serve the channel whose descriptor is the only argument."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    # It came by inheritance and must not go on so: whoever holds it commands this process.
    channel.set_inheritable(False)
    try:
        enter_private_namespace()
        _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")
    except OSError as exc:
        channel.send(json.dumps({"event": "refused", "job": None, "reason": str(exc)}).encode())
        return 1
    # A collection between fork and exec would copy every page that it looks at.
    gc.disable()
    gc.freeze()
    channel.send(json.dumps({"event": "ready"}).encode())
    LauncherProcess(channel).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
