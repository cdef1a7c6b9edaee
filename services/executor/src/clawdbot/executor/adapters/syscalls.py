"""Numbers of the system calls that a job may not make, on the two machines we run on.

Source: Linux uapi headers, `asm/unistd_64.h` (x86_64) and `asm-generic/unistd.h` (aarch64), 6.17.
"""

from __future__ import annotations

from dataclasses import dataclass

# From 424 on a new call has the same number everywhere.
_SHARED = {
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_getfd": 438,
    "process_madvise": 440,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "memfd_secret": 447,
    "set_mempolicy_home_node": 450,
    "statmount": 457,
    "listmount": 458,
    "open_tree_attr": 467,
}

# name: x86_64, aarch64
_BY_MACHINE = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "finit_module": (313, 273),
    "get_mempolicy": (239, 236),
    "init_module": (175, 105),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "mbind": (237, 235),
    "migrate_pages": (256, 238),
    "mount": (165, 40),
    "move_pages": (279, 239),
    "name_to_handle_at": (303, 264),
    "nfsservctl": (180, 42),
    "open_by_handle_at": (304, 265),
    "perf_event_open": (298, 241),
    "pivot_root": (155, 41),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "set_mempolicy": (238, 237),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
    "vmsplice": (278, 75),
}

_X86_64_ONLY = {
    "_sysctl": 156,
    "create_module": 174,
    "get_kernel_syms": 177,
    "ioperm": 173,
    "iopl": 172,
    "modify_ldt": 154,
    "query_module": 178,
    "sysfs": 139,
    "uselib": 134,
    "ustat": 136,
}


@dataclass(frozen=True)
class Machine:
    """What the filter needs to know of one processor architecture."""

    audit_arch: int
    """`AUDIT_ARCH_*` of its native 64-bit calls, the only ones that are let through."""
    denied: dict[str, int]
    clone: int
    ioctl: int
    personality: int
    socket: int
    first_unassigned: int
    """Start of the gap below 424, where only kernel-private calls live."""
    x32: bool = False
    """Whether a second set of numbers, from 0x40000000 on, reaches the same calls."""


CLONE3 = 435
FIRST_SHARED = 424
NEWEST_KNOWN = 469
"""file_setattr. What came later was not judged, so it answers ENOSYS."""

MACHINES = {
    "x86_64": Machine(
        audit_arch=0xC000003E,
        denied={n: pair[0] for n, pair in _BY_MACHINE.items()} | _X86_64_ONLY | _SHARED,
        clone=56,
        ioctl=16,
        personality=135,
        socket=41,
        first_unassigned=335,
        x32=True,
    ),
    "aarch64": Machine(
        audit_arch=0xC00000B7,
        denied={n: pair[1] for n, pair in _BY_MACHINE.items()} | _SHARED,
        clone=220,
        ioctl=29,
        personality=92,
        socket=198,
        first_unassigned=295,
    ),
}
