"""The lines that a person pastes, run by bash against a server that verifies them."""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from clawdbot.cli.greeting import greeting, own_command, send_lines

SECRET = b"the shared secret"
MESSAGE_ID = "abc-123_x"


class Verifier(BaseHTTPRequestHandler):
    """Answers as the gateway does, to whoever signs."""

    absolute = False

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        message = json.loads(body)
        assert abs(message["timestamp"] - time.time()) < 600
        base = f"http://{self.headers['Host']}" if self.absolute else ""
        self._answer(body, {"status_url": f"{base}/api/messages/{MESSAGE_ID}", "status": "ok"})

    def do_GET(self) -> None:
        self._answer(self.path.encode(), {"reply": {"content": "Hello yourself!"}})

    def _answer(self, signed: bytes, record: dict[str, object]) -> None:
        expected = hmac.new(SECRET, signed, hashlib.sha256).hexdigest()
        is_signed = hmac.compare_digest(self.headers.get("X-Signature", ""), expected)
        content = json.dumps(record if is_signed else {"refused": True}).encode()
        self.send_response(202 if is_signed else 401)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


class AbsoluteVerifier(Verifier):
    absolute = True


@contextmanager
def serving(handler: type[Verifier]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def config_path(tmp_path: Path) -> Path:
    data_dir = tmp_path / "data with blank"
    (data_dir / "secrets").mkdir(parents=True)
    (data_dir / "secrets" / "webhook_secret").write_bytes(SECRET)
    path = tmp_path / "my config.yaml"
    path.write_text(json.dumps({"app": {"data_dir": str(data_dir)}}))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("handler", [Verifier, AbsoluteVerifier])
def test_the_printed_lines_send_a_signed_message_and_read_its_reply(
    handler: type[Verifier], config_path: Path, tmp_path: Path
) -> None:
    command = own_command("not-a-file", config_path, tmp_path)

    with serving(handler) as url:
        lines = send_lines(url, "/api/messages", command)
        script = "set -euo pipefail\n" + "\n".join(lines)
        done = subprocess.run(
            ["bash", "-c", script], capture_output=True, text=True, timeout=60, cwd=tmp_path
        )

    assert done.stderr == ""
    sent, read = done.stdout.splitlines()
    assert json.loads(sent)["status"] == "ok"
    assert json.loads(read) == {"reply": {"content": "Hello yourself!"}}


def test_the_secret_is_not_on_the_screen(config_path: Path, tmp_path: Path) -> None:
    command = own_command("not-a-file", config_path, tmp_path)

    text = greeting("http://127.0.0.1:8000", "/api/messages", "the.token", command)

    assert SECRET.decode() not in text
    assert "http://127.0.0.1:8000/#token=the.token" in text


def test_an_executable_below_this_folder_is_named_relatively(tmp_path: Path) -> None:
    program = tmp_path / ".venv" / "bin" / "clawdbot"
    program.parent.mkdir(parents=True)
    program.touch()

    inside = own_command(str(program), tmp_path / "config.yaml", tmp_path)
    outside = own_command(str(program), tmp_path / "config.yaml", tmp_path / "elsewhere")

    assert inside == ".venv/bin/clawdbot"
    assert outside.startswith(str(program))


def test_another_configuration_is_passed_on(tmp_path: Path) -> None:
    command = own_command("nothing", Path("other.yaml"), tmp_path)

    assert command == f"{sys.executable} -m clawdbot.cli.main --config other.yaml"
