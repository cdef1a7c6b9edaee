"""Programs whose purpose or option is to run other programs. They are never a harmless step."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

_SHELLS = {"ash", "bash", "csh", "dash", "fish", "ksh", "mksh", "rbash", "sh", "tcsh", "zsh"}
_INTERPRETERS = {
    *("awk", "bc", "ed", "emacs", "ex", "expect", "gawk", "gdb", "guile", "java", "jq", "julia"),
    *("lua", "m4", "mawk", "nawk", "node", "nodejs", "octave", "perl", "php", "pypy", "python"),
    *("rscript", "ruby", "sed", "sqlite", "tclsh", "vi", "view", "vim", "vimdiff"),
}
_WRAPPERS = {
    *("busybox", "capsh", "chroot", "chrt", "doas", "docker", "env", "fakeroot", "find", "flock"),
    *("git", "ionice", "ld.so", "less", "ltrace", "make", "man", "more", "nice", "nohup"),
    *("nsenter", "parallel", "pkexec", "podman", "prlimit", "rsync", "run-parts", "runuser", "scp"),
    *("screen", "script", "setarch", "setpriv", "setsid", "ssh", "start-stop-daemon", "stdbuf"),
    *("strace", "su", "sudo", "systemd-run", "tar", "taskset", "time", "timeout", "tmux"),
    *("toybox", "unshare", "watch", "xargs", "zip"),
}
_ALL = _SHELLS | _INTERPRETERS | _WRAPPERS


def runs_others(executable: str) -> bool:
    """Whether the program at this path is a shell, an interpreter or a wrapper, by its name.

    A name is not an identity, so this is asked of the resolved path as well.
    """
    name = PurePosixPath(executable).name.lower()
    # python3.11 and perl5.36 are python and perl; ld-linux-x86-64.so.2 is the loader.
    plain = re.sub(r"[-_]?\d[\d.]*$", "", name)
    return name in _ALL or plain in _ALL or name.startswith(("ld-linux", "ld-musl", "ld-2"))
