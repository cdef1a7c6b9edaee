"""`clawdbot up` as a newcomer meets it: what it prints works as printed, and it leaves nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from clawdbot.runtime.testing import free_port
from clawdbot.schema.permissions import SERVICES
from tests.integration.system import START_S, until


class Up:
    """A running `clawdbot up` in a folder of its own."""

    def __init__(self, directory: Path, models: Path, **sections: object) -> None:
        self.directory = directory
        self.port = free_port()
        ports = {name: free_port() for name in SERVICES}
        document = {
            "app": {"port": self.port},
            "models": {"directory": str(models)},
            "assistant": {"max_tokens": 32},
            "bus": {"url": f"nats://127.0.0.1:{free_port()}"},
            "ops": {"health_ports": ports},
            **sections,
        }
        (directory / "config.yaml").write_text(yaml.safe_dump(document))
        self._log = directory / "up.log"
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [str(Path(sys.executable).with_name("clawdbot")), "up"],
                cwd=directory,
                env={"PATH": os.environ["PATH"], "HOME": str(directory)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def printed(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_ready(self) -> None:
        def is_up() -> bool:
            assert self.process.poll() is None, self.printed
            return "Ctrl-C stops everything" in self.printed

        until(is_up, START_S, "the greeting")

    def pids(self) -> dict[str, int]:
        """Return the process of each service, as its own log line says."""
        return {
            name: int(pid)
            for name, pid in re.findall(r"ready.*service=(\w+) pid=(\d+)", self.printed)
        } | {
            found["service"]: found["pid"]
            for line in self.printed.splitlines()
            if '"message": "ready"' in line
            for found in [json.loads(line[line.index("{") :])]
        }


@contextmanager
def up(directory: Path, models: Path, **sections: object) -> Iterator[Up]:
    running = Up(directory, models, **sections)
    try:
        running.wait_ready()
        yield running
    finally:
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGINT)
            running.process.wait(60)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]


def test_the_printed_lines_work_as_printed_and_nothing_is_left(
    tmp_path: Path, models_dir: Path
) -> None:
    with up(tmp_path, models_dir) as running:
        lines = running.printed.splitlines()
        start = next(i for i, line in enumerate(lines) if line.startswith("BODY="))
        send, read = "\n".join(lines[start : start + 2]), lines[start + 2]

        poll = f"OUT=$({read}); case $OUT in *queued*) sleep 0.2;; *) break;; esac"
        script = f'{send}\nfor i in $(seq 200); do {poll}; done; echo "$OUT"'
        ended = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=90,
            check=True,
        )
        reply = json.loads(ended.stdout.strip().splitlines()[-1])
        assert reply["state"] == "answered", ended.stdout
        assert reply["reply"]["metadata"]["model"].startswith("smollm2")

        modes = {
            path.name: path.stat().st_mode & 0o777
            for path in (tmp_path / ".clawdbot" / "secrets").iterdir()
        }
        assert set(modes.values()) == {0o600}, modes
        assert (tmp_path / ".clawdbot").stat().st_mode & 0o077 == 0

        second = subprocess.run(
            [str(Path(sys.executable).with_name("clawdbot")), "up"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert second.returncode != 0
        assert "Traceback" not in second.stdout + second.stderr
        pids = running.pids()
        assert set(pids) == set(SERVICES)

    assert running.process.returncode == 0, running.printed
    assert not [name for name, pid in pids.items() if is_alive(pid)]


def test_a_crashed_service_and_a_crashed_broker_come_back(tmp_path: Path, models_dir: Path) -> None:
    with up(tmp_path, models_dir) as running:
        url = f"http://127.0.0.1:{running.port}"
        token = re.search(r"#token=(\S+)", running.printed)
        assert token is not None
        headers = {"Authorization": f"Bearer {token[1]}"}

        def answers() -> bool:
            try:
                answer = httpx.post(
                    f"{url}/api/chat", json={"content": "/sysinfo"}, headers=headers, timeout=30
                )
            except httpx.TransportError:
                return False
            return answer.status_code == 200

        assert answers()
        old = running.pids()
        for name in ("executor", "assistant"):
            os.kill(old[name], signal.SIGKILL)
        until(
            lambda: all(running.pids()[n] != old[n] for n in ("executor", "assistant")),
            60,
            "new processes",
        )
        until(answers, 60, "an answer from the new processes")

        parent = str(running.process.pid)
        children = subprocess.check_output(["pgrep", "-P", parent, "nats-server"], text=True)
        broker = int(children.split()[0])
        os.kill(broker, signal.SIGKILL)
        until(answers, 60, "an answer after the broker came back")


def test_several_gateway_workers_share_the_port_and_one_may_die(
    tmp_path: Path, models_dir: Path
) -> None:
    with up(tmp_path, models_dir, gateway={"workers": 2}) as running:
        url = f"http://127.0.0.1:{running.port}/healthz"

        def workers() -> set[int]:
            found = re.findall(r"ready.*service=gateway pid=(\d+)", running.printed)
            return {int(pid) for pid in found if is_alive(int(pid))}

        first, second = until(lambda: workers() if len(workers()) == 2 else None, 30, "both ready")
        os.kill(first, signal.SIGKILL)
        until(lambda: not is_alive(first), 10, "its end")
        # The one that is left takes every new connection.
        statuses = {httpx.get(url).status_code for _ in range(20)}
        until(lambda: len(workers()) == 2, 30, "another in its place")

        assert statuses == {200}
        assert second in workers()

    assert running.process.returncode == 0, running.printed


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_when_it_is_killed_nothing_survives(tmp_path: Path, models_dir: Path) -> None:
    with up(tmp_path, models_dir) as running:
        pids = running.pids()
        running.process.kill()
        running.process.wait(10)

        until(lambda: not any(is_alive(pid) for pid in pids.values()), 60, "every service ending")
