"""What a hostile job tries to reach, through the real sandbox."""

from __future__ import annotations

import asyncio
import errno

import pytest

from clawdbot.executor.adapters.bubblewrap import BubblewrapSandbox
from clawdbot.schema.executor import Outcome

from .conftest import PYTHON, Snippet, plan_of, run_plan

pytestmark = pytest.mark.asyncio(loop_scope="session")

_SYSCALL = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    result = libc.syscall(*map(ctypes.c_long, arguments))
    return 0 if result >= 0 else ctypes.get_errno()
def number(x86_64, aarch64):
    return x86_64 if os.uname().machine == "x86_64" else aarch64
"""


async def test_job_runs_and_its_output_and_status_come_back(snippet: Snippet) -> None:
    result = await snippet("import sys; print('out'); sys.stderr.write('err'); sys.exit(3)")

    assert (result.outcome, result.exit_status) == (Outcome.FINISHED, 3)
    assert (result.stdout, result.stderr) == (b"out\n", b"err")


async def test_job_reaches_no_address(snippet: Snippet) -> None:
    result = await snippet(
        "import socket\n"
        "for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):\n"
        "    print(socket.socket(type=kind).connect_ex(('192.0.2.1', 80)))\n"
    )

    assert set(map(int, result.stdout.split())) == {errno.ENETUNREACH}


async def test_job_does_not_reach_what_listens_on_the_loopback_of_the_host(
    snippet: Snippet,
) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    result = await snippet(
        f"import socket; print(socket.socket().connect_ex(('127.0.0.1', {port})))"
    )

    server.close()
    assert int(result.stdout) == errno.ECONNREFUSED


@pytest.mark.parametrize("family", ["AF_NETLINK", "AF_PACKET", "AF_VSOCK", "AF_ALG"])
async def test_sockets_that_a_network_namespace_does_not_stop_are_refused(
    snippet: Snippet, family: str
) -> None:
    result = await snippet(
        f"import socket\ntry: socket.socket(socket.{family}, socket.SOCK_DGRAM)\n"
        "except OSError as e: print(e.errno)\nelse: print('open')"
    )

    assert int(result.stdout) == errno.EAFNOSUPPORT


async def test_secrets_of_the_service_environment_are_nowhere_to_be_read(
    snippet: Snippet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAWDBOT_SECRET_JWT_SECRET", "hunter2-of-the-service")

    result = await snippet(
        "import pathlib\n"
        "for p in pathlib.Path('/proc').glob('[0-9]*'):\n"
        "    print(p.name, (p / 'environ').read_bytes(), (p / 'cmdline').read_bytes())\n"
    )

    lines = result.stdout.decode().splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2"]
    assert lines[0].startswith("1 b'' ")
    assert b"hunter2" not in result.stdout
    assert b"SECRET" not in result.stdout


async def test_environment_holds_only_what_the_profile_names(snippet: Snippet) -> None:
    result = await snippet("import os; print(sorted(os.environ))")

    assert result.stdout == b"['HOME', 'LANG', 'PATH', 'PWD']\n"


@pytest.mark.parametrize(
    "path", ["/x", "/usr/x", "/etc/x", "/dev/x", "/proc/x", "/proc/self/oom_score_adj"]
)
async def test_writing_outside_tmp_is_refused(snippet: Snippet, path: str) -> None:
    result = await snippet(
        f"try: open({path!r}, 'w').write('-1000')\nexcept OSError as e: print(e.errno)"
    )

    assert int(result.stdout) in (errno.EROFS, errno.ENOENT, errno.EACCES)


async def test_files_of_the_host_are_not_there(snippet: Snippet) -> None:
    result = await snippet(
        "import os; print([p for p in ('/root', '/home', '/etc/passwd', '/etc/shadow', '/var', "
        "'/run', '/sys', '/boot', '/mnt', '/opt') if os.path.lexists(p)])"
    )

    assert result.stdout == b"[]\n"


async def test_tmp_is_empty_at_the_start_of_every_job(snippet: Snippet) -> None:
    source = "import os; print(os.listdir('/tmp'), os.listdir('/dev/shm')); open('/tmp/a', 'w')"
    await snippet(source)

    second = await snippet(source)

    assert second.stdout == b"[] []\n"


async def test_job_is_not_root_and_cannot_become_it(snippet: Snippet) -> None:
    result = await snippet(
        "import os\n"
        "print(os.getuid(), os.geteuid(), os.getgid(), os.getgroups())\n"
        "try: os.setuid(0)\nexcept OSError as e: print(e.errno)\n"
        "print([l.split()[1] for l in open('/proc/self/status') if l.startswith('Cap')])\n"
    )

    ids, refused, capabilities = result.stdout.decode().splitlines()
    assert ids.startswith("65534 65534 65534 ")
    assert "0" not in ids.partition("[")[2].strip("]").split(", ")
    assert int(refused) in (errno.EPERM, errno.EINVAL)
    assert set(eval(capabilities)) == {"0" * 16}


@pytest.mark.parametrize(
    ("name", "x86_64", "aarch64"),
    [
        ("io_uring_setup", 425, 425),
        ("io_uring_enter", 426, 426),
        ("io_uring_register", 427, 427),
        ("keyctl", 250, 219),
        ("add_key", 248, 217),
        ("request_key", 249, 218),
        ("ptrace", 101, 117),
        ("bpf", 321, 280),
        ("userfaultfd", 323, 282),
        ("perf_event_open", 298, 241),
        ("mount", 165, 40),
        ("umount2", 166, 39),
        ("fsopen", 430, 430),
        ("unshare", 272, 97),
        ("setns", 308, 268),
        ("process_vm_writev", 311, 271),
    ],
)
async def test_dangerous_system_call_is_refused(
    snippet: Snippet, name: str, x86_64: int, aarch64: int
) -> None:
    result = await snippet(f"{_SYSCALL}print(call(number({x86_64}, {aarch64}), 0, 0, 0, 0, 0))")

    assert int(result.stdout) == errno.EPERM, name


async def test_new_user_namespace_is_refused_by_either_clone(snippet: Snippet) -> None:
    result = await snippet(
        f"{_SYSCALL}print(call(number(56, 220), 0x10000000 | 17, 0, 0, 0, 0), call(435, 0, 0))"
    )

    assert result.stdout.split() == [b"%d" % errno.EPERM, b"%d" % errno.ENOSYS]


async def test_typing_into_the_terminal_of_the_service_is_refused(snippet: Snippet) -> None:
    result = await snippet(
        "import fcntl\ntry: fcntl.ioctl(0, 0x5412, b'x')\nexcept OSError as e: print(e.errno)"
    )

    assert int(result.stdout) == errno.EPERM


async def test_calls_with_numbers_of_another_architecture_kill_the_job(snippet: Snippet) -> None:
    result = await snippet(
        f"{_SYSCALL}\nif os.uname().machine != 'x86_64': os.kill(os.getpid(), 31)\n"
        "print(call(0x40000000 + 39))"
    )

    assert result.exit_status == 128 + 31
    assert result.stdout == b""


async def test_no_descriptor_of_the_service_reaches_the_job(snippet: Snippet) -> None:
    result = await snippet("import os; print(sorted(map(int, os.listdir('/proc/self/fd'))))")

    assert result.stdout == b"[0, 1, 2, 3]\n"


async def test_program_that_does_not_exist_is_an_error_and_not_a_result(
    sandbox: BubblewrapSandbox,
) -> None:
    with pytest.raises(Exception, match=r"lost the job.*no-such-program"):
        await run_plan(sandbox, plan_of("/usr/bin/no-such-program"))


async def test_arguments_arrive_as_they_were_given(sandbox: BubblewrapSandbox) -> None:
    words = ("--seccomp", "$(id)", "a b", "; rm -rf /", "中文", "", "--")

    command = (PYTHON, "-I", "-c", "import sys; print(sys.argv[1:])")
    result = await run_plan(sandbox, plan_of(*command, *words))

    assert result.stdout.decode().strip() == str(list(words))
