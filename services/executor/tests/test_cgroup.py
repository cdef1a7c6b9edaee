"""Where groups are found and which limits are written, on trees that look like the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from clawdbot.executor.adapters.cgroup import JobGroup, JobGroups, detect


def _proc(tmp_path: Path, membership: str, mounts: str) -> Path:
    proc = tmp_path / "self"
    proc.mkdir()
    (proc / "cgroup").write_text(membership)
    (proc / "mountinfo").write_text(mounts)
    return proc


def _files(directory: Path, **content: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in content.items():
        (directory / name.replace("__", ".")).write_text(text)
    return directory


def test_version_one_is_found_per_controller(tmp_path: Path) -> None:
    memory, pids = _files(tmp_path / "memory" / "svc"), _files(tmp_path / "pids")
    proc = _proc(
        tmp_path,
        "4:memory:/svc\n8:pids:/\n0::/\n",
        f"1 0 0:1 / {tmp_path}/memory rw - cgroup cgroup rw,memory\n"
        f"2 0 0:2 / {pids} rw - cgroup cgroup rw,pids\n",
    )

    groups = detect(proc)

    assert isinstance(groups, JobGroups)
    assert groups.version == 1
    assert [parent.parent for parent in groups.parents] == [memory, pids]
    groups.close()
    assert not any(parent.exists() for parent in groups.parents)


def test_version_two_is_found_inside_a_container_and_delegated(tmp_path: Path) -> None:
    home = _files(
        tmp_path / "cgroup",
        cgroup__controllers="cpu memory pids",
        cgroup__subtree_control="memory pids",
    )
    proc = _proc(tmp_path, "0::/\n", f"1 0 0:1 /pod1 {home} rw - cgroup2 cgroup rw\n")

    groups = detect(proc)

    assert isinstance(groups, JobGroups)
    assert groups.version == 2
    assert (groups.parents[0] / "cgroup.subtree_control").read_text() == "+memory +pids"


@pytest.mark.parametrize(
    ("controllers", "reason"), [("cpu io", "not available"), (None, "No such file")]
)
def test_host_without_the_controllers_is_told_and_not_guessed(
    tmp_path: Path, controllers: str | None, reason: str
) -> None:
    home = _files(tmp_path / "cgroup")
    if controllers is not None:
        _files(home, cgroup__controllers=controllers)
    proc = _proc(tmp_path, "0::/\n", f"1 0 0:1 / {home} rw - cgroup2 cgroup rw\n")

    found = detect(proc)

    assert isinstance(found, str)
    assert reason in found


def test_groups_of_executors_that_are_gone_are_removed(tmp_path: Path) -> None:
    memory, pids = _files(tmp_path / "memory"), _files(tmp_path / "pids")
    left = _files(memory / "clawdbot-executor-4194999" / "job-1").parent
    proc = _proc(
        tmp_path,
        "4:memory:/\n8:pids:/\n",
        f"1 0 0:1 / {memory} rw - cgroup cgroup rw,memory\n"
        f"2 0 0:2 / {pids} rw - cgroup cgroup rw,pids\n",
    )

    detect(proc)

    assert not left.exists()


def test_limits_of_version_two_cover_swap_and_the_whole_group(tmp_path: Path) -> None:
    parent = _files(tmp_path / "parent")
    groups = JobGroups(2, (parent,))

    group = groups.create("job-1", memory_bytes=1000, pids=7)

    written = {file.name: file.read_text() for file in (parent / "job-1").iterdir()}
    assert written == {"memory.max": "1000", "pids.max": "7"}
    assert group.entrances == (str(parent / "job-1" / "cgroup.procs"),)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("memory__events", "low 0\noom 3\noom_kill 2\n"),
        ("memory__oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
    ],
)
def test_kills_for_memory_are_counted(tmp_path: Path, file: str, content: str) -> None:
    group = JobGroup(2, (_files(tmp_path / "job", **{file: content}),))

    assert group.memory_kills() == 2


async def test_group_that_holds_nothing_is_removed(tmp_path: Path) -> None:
    group = JobGroup(2, (_files(tmp_path / "job"),))

    await group.remove()

    assert not (tmp_path / "job").exists()
