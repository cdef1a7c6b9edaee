"""The filter, run by a small interpreter of the few instructions it uses, for both machines."""

from __future__ import annotations

import errno
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.executor.adapters.seccomp import filter_program
from clawdbot.executor.adapters.syscalls import CLONE3, MACHINES, NEWEST_KNOWN

_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_REFUSE = 0x00050000 | errno.EPERM
_UNKNOWN = 0x00050000 | errno.ENOSYS
_NO_FAMILY = 0x00050000 | errno.EAFNOSUPPORT

machines = pytest.mark.parametrize("machine", sorted(MACHINES))


def _answer(machine: str, number: int, *arguments: int, arch: int | None = None) -> int:
    program = list(struct.iter_unpack("=HBBI", filter_program(machine)))
    audit_arch = MACHINES[machine].audit_arch if arch is None else arch
    filled = (*arguments, *[0] * (6 - len(arguments)))
    data = struct.pack("=IIQ6Q", number, audit_arch, 0, *filled)
    at, word = 0, 0
    while True:
        code, then, otherwise, k = program[at]
        if code == 0x06:
            return int(k)
        if code == 0x20:
            (word,) = struct.unpack_from("=I", data, k)
            at += 1
            continue
        holds = {0x15: word == k, 0x35: word >= k, 0x45: bool(word & k)}[code]
        at += 1 + (then if holds else otherwise)


@machines
def test_every_denied_call_is_refused(machine: str) -> None:
    answers = {_answer(machine, number) for number in MACHINES[machine].denied.values()}

    assert answers == {_REFUSE}


@machines
def test_both_tables_deny_the_same_calls_by_name(machine: str) -> None:
    common = set(MACHINES["x86_64"].denied) & set(MACHINES["aarch64"].denied)

    assert {"keyctl", "ptrace", "bpf", "io_uring_setup", "userfaultfd", "setns"} <= common
    assert len(set(MACHINES[machine].denied.values())) == len(MACHINES[machine].denied)


@machines
@pytest.mark.parametrize("flag", [0x80, 0x20000, 0x02000000, 0x10000000, 0x20000000, 0x40000000])
def test_clone_into_a_new_namespace_is_refused(machine: str, flag: int) -> None:
    clone = MACHINES[machine].clone

    assert _answer(machine, clone, flag | 17) == _REFUSE
    assert _answer(machine, clone, 0x003D0F00) == _ALLOW
    assert _answer(machine, clone, 17) == _ALLOW


@machines
@pytest.mark.parametrize("number", [CLONE3, NEWEST_KNOWN + 1, 1000, 400])
def test_calls_that_cannot_be_judged_do_not_exist(machine: str, number: int) -> None:
    assert _answer(machine, number) == _UNKNOWN


@machines
@given(family=st.integers(0, 50))
def test_only_local_and_internet_sockets_exist(machine: str, family: int) -> None:
    expected = _ALLOW if family in (1, 2, 10) else _NO_FAMILY

    assert _answer(machine, MACHINES[machine].socket, family) == expected


@machines
def test_terminal_injection_is_refused_whatever_the_upper_half_says(machine: str) -> None:
    ioctl = MACHINES[machine].ioctl

    assert _answer(machine, ioctl, 0, 0x5412) == _REFUSE
    assert _answer(machine, ioctl, 0, 0x5412 | 1 << 32) == _REFUSE
    assert _answer(machine, ioctl, 0, 0x5401) == _ALLOW


@machines
def test_personality_may_be_asked_but_not_changed(machine: str) -> None:
    personality = MACHINES[machine].personality

    assert _answer(machine, personality, 0xFFFFFFFF) == _ALLOW
    assert _answer(machine, personality, 0x0040000) == _REFUSE


@machines
@given(number=st.integers(0, 2**32 - 1), arch=st.integers(0, 2**32 - 1))
def test_any_other_architecture_kills(machine: str, number: int, arch: int) -> None:
    if arch == MACHINES[machine].audit_arch:
        return

    assert _answer(machine, number, arch=arch) == _KILL


@given(st.integers(0x40000000, 2**32 - 1))
def test_second_numbering_of_x86_kills(number: int) -> None:
    assert _answer("x86_64", number) == _KILL


@machines
@given(number=st.integers(0, 2**32 - 1), argument=st.integers(0, 2**64 - 1))
def test_every_call_gets_one_of_the_five_answers(machine: str, number: int, argument: int) -> None:
    answers = {_ALLOW, _KILL, _REFUSE, _UNKNOWN, _NO_FAMILY}

    assert _answer(machine, number, argument, argument) in answers


@pytest.mark.parametrize(
    ("machine", "header"),
    [
        ("x86_64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
        ("aarch64", "/usr/include/asm-generic/unistd.h"),
    ],
)
def test_numbers_are_those_of_the_kernel_headers(machine: str, header: str) -> None:
    if not Path(header).exists():
        pytest.skip("no kernel headers here")
    defined = dict(_defined(Path(header).read_text()))

    denied = MACHINES[machine].denied
    different = {n: number for n, number in denied.items() if defined.get(n, number) != number}

    assert different == {}


def _defined(text: str) -> Iterator[tuple[str, int]]:
    for name, number in re.findall(r"#define __NR_(\w+)\s+(\d+)", text):
        yield name, int(number)
