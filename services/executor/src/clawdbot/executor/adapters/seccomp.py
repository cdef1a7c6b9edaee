"""The system call filter of every job, assembled here so that no distribution decides it.

It is a list of what is refused: reaching other processes, keys, namespaces, mounts, the kernel's
own programs (bpf, io_uring), and sockets that an empty network namespace does not stop. Calls of
another architecture kill the job, because their numbers mean something else.

Source: Documentation/userspace-api/seccomp_filter.rst and include/uapi/linux/{bpf_common,seccomp}.h
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass

from clawdbot.executor.adapters.syscalls import (
    CLONE3,
    FIRST_SHARED,
    MACHINES,
    NEWEST_KNOWN,
    Machine,
)

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K

# Offsets into struct seccomp_data; arguments are 64 bits, of which the low half comes first.
_NUMBER, _ARCH, _ARG0, _ARG1 = 0, 4, 16, 24

_KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000
_ALLOW = 0x7FFF0000

_RESULTS = {
    "allow": _ALLOW,
    "kill": _KILL_PROCESS,
    "refuse": _ERRNO | errno.EPERM,
    "unknown": _ERRNO | errno.ENOSYS,
    "family": _ERRNO | errno.EAFNOSUPPORT,
}

# CLONE_NEW{TIME,NS,CGROUP,UTS,IPC,USER,PID,NET}
_NAMESPACES = 0x80 | 0x20000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x60000000
_FAMILIES = (1, 2, 10)  # AF_UNIX, AF_INET, AF_INET6: all of them end at the namespace
_TERMINAL_INJECTION = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
_PERSONALITIES = (0, 0xFFFFFFFF)  # the default, and asking
_X32_BIT = 0x40000000


@dataclass(frozen=True)
class _Step:
    code: int
    k: int
    then: str = ""
    """Label to go to when the test holds; empty means the next step."""
    otherwise: str = ""


def filter_program(machine: str) -> bytes:
    """Return the filter as an array of `struct sock_filter`, for bubblewrap's `--seccomp`.

    Args:
        machine: as `platform.machine()` gives it.

    Raises:
        KeyError: no table for that machine.
    """
    target = MACHINES[machine]
    sections: dict[str, list[_Step]] = {
        "": [*_entry(target), *_dispatch(target), *_refusals(target), _Step(_RETURN, _ALLOW)],
        "clone": [_Step(_LOAD, _ARG0), _Step(_ANY_BIT, _NAMESPACES, "refuse", "allow")],
        "socket": _one_of(_ARG0, _FAMILIES, "allow", "family"),
        "ioctl": _one_of(_ARG1, _TERMINAL_INJECTION, "refuse", "allow"),
        "personality": _one_of(_ARG0, _PERSONALITIES, "allow", "refuse"),
    }
    sections |= {label: [_Step(_RETURN, value)] for label, value in _RESULTS.items()}
    return _assemble(sections)


def _entry(machine: Machine) -> list[_Step]:
    x32 = [_Step(_AT_LEAST, _X32_BIT, "kill")] if machine.x32 else []
    return [
        _Step(_LOAD, _ARCH),
        _Step(_EQUAL, machine.audit_arch, "", "kill"),
        _Step(_LOAD, _NUMBER),
        *x32,
        _Step(_AT_LEAST, NEWEST_KNOWN + 1, "unknown"),
    ]


def _dispatch(machine: Machine) -> list[_Step]:
    return [
        _Step(_EQUAL, machine.clone, "clone"),
        _Step(_EQUAL, machine.socket, "socket"),
        _Step(_EQUAL, machine.ioctl, "ioctl"),
        _Step(_EQUAL, machine.personality, "personality"),
        # A filter cannot read clone3's flags; without it the C library uses clone.
        _Step(_EQUAL, CLONE3, "unknown"),
    ]


def _refusals(machine: Machine) -> list[_Step]:
    denied = [_Step(_EQUAL, number, "refuse") for number in sorted(machine.denied.values())]
    return [
        *denied,
        _Step(_AT_LEAST, FIRST_SHARED, "allow"),
        _Step(_AT_LEAST, machine.first_unassigned, "unknown"),
    ]


def _one_of(argument: int, values: tuple[int, ...], found: str, missing: str) -> list[_Step]:
    *first, last = values
    tests = [_Step(_EQUAL, value, found) for value in first]
    return [_Step(_LOAD, argument), *tests, _Step(_EQUAL, last, found, missing)]


def _assemble(sections: dict[str, list[_Step]]) -> bytes:
    addresses: dict[str, int] = {}
    steps: list[_Step] = []
    for label, section in sections.items():
        addresses[label] = len(steps)
        steps += section

    def distance(label: str, at: int) -> int:
        return addresses[label] - at - 1 if label else 0

    return b"".join(
        struct.pack("=HBBI", s.code, distance(s.then, at), distance(s.otherwise, at), s.k)
        for at, s in enumerate(steps)
    )
