"""The configuration that users were given works as it stands, and says what it lacks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from clawdbot.runtime.config import load_config
from tests.integration.system import System

GIVEN = """\
app:
  port: 8000
  debug: false
memory:
  storage_type: sqlite   # mysql/postgresql are supported too
  db_path: ./memory.db
models:
  default: ./models/llama2-7b.onnx
  context_length: 2048
platforms:
  webhook:
    enabled: true
    path: /api/messages
  socket:
    enabled: false
    port: 8001
"""


def test_the_given_file_is_understood(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(GIVEN)

    config = load_config(tmp_path / "config.yaml", environ={})

    assert config.app.port == 8000
    assert config.models.default_path == Path("models/llama2-7b.onnx")
    assert config.models.default_name == "llama2-7b"
    assert config.platforms.webhook.path == "/api/messages"


def test_a_missing_model_stops_nothing_and_is_named_with_its_fix(
    new_system: Callable[..., System],
) -> None:
    models = {"default": "./models/llama2-7b.onnx", "context_length": 2048}
    with new_system(models=models).running() as system:
        port = system.config.ops.health_ports.inference
        ready = httpx.get(f"http://127.0.0.1:{port}/readyz")

        assert ready.status_code == 503
        assert "models/llama2-7b.onnx" in ready.text
        assert "make models" in ready.text

        reply = system.ask("Hello!")
        assert reply["kind"] == "error"
        assert "models/llama2-7b.onnx" in reply["content"]
        assert "make models" in reply["content"]

        headers = {"Authorization": f"Bearer {system.token()}"}
        answer = system.http.post("/api/chat", json={"content": "Hello!"}, headers=headers)
        assert answer.status_code >= 400
        assert "models/llama2-7b.onnx" in answer.json()["detail"]
        # Everything that needs no chat model works.
        assert system.ask("/sysinfo")["kind"] == "reply"


@pytest.mark.parametrize(
    ("text", "variables", "expected"),
    [
        ("memory:\n  storage_typ: sqlite\n", {}, "did you mean storage_type?"),
        ("memry: {}\n", {}, "did you mean memory?"),
        ("app: 7\n", {}, "app"),
        ("app:\n  port: many\n", {}, "app.port"),
        ("- a list\n", {}, "mapping"),
        ("", {"CLAWDBOT_MEMORY__STORAGE_TYP": "x"}, "CLAWDBOT_MEMORY__STORAGE_TYPE?"),
        ("", {"CLAWDBOT_APP__PORT": "many"}, "app.port"),
    ],
)
def test_a_mistake_is_one_line_with_the_nearest_right_name(
    tmp_path: Path, text: str, variables: dict[str, str], expected: str
) -> None:
    (tmp_path / "config.yaml").write_text(text)

    ended = subprocess.run(
        [sys.executable, "-m", "clawdbot.gateway.main"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 2
    assert expected in ended.stderr
    assert "Traceback" not in ended.stderr
