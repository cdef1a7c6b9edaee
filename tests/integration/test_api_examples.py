"""The examples of docs/api.md, run as they stand."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.system import ROOT, System

ANSWERS = (
    ("answer", lambda it: it["conversation_id"] == "art / colours" and it["content"]),
    ("list", lambda it: [c["conversation_id"] for c in it["conversations"]] == ["art / colours"]),
    ("lines", lambda it: [m["role"] for m in it["messages"]] == ["user", "assistant"]),
    ("error", lambda it: it["status"] == 422 and it["field"] == "content"),
)


@pytest.mark.parametrize("page", ["docs/api.md", "docs/zh/api.md"])
def test_the_examples_do_what_they_say(system: System, tmp_path: Path, page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    script = "\n".join(["set -e", *re.findall(r"```sh\n(.*?)```", text, re.S)])
    script = script.replace("http://127.0.0.1:8000", system.url)
    script = script.replace(".venv/bin/clawdbot", f"{sys.executable} -m clawdbot.cli.main")
    # Each page has a question of its own.
    script = script.replace("question-1", f"question-{tmp_path.name}")
    script = script.replace("--subject ada", f"--subject {tmp_path.name}")

    done = subprocess.run(
        ["/bin/bash", "-c", script],
        cwd=system.directory,
        env={"PATH": os.environ["PATH"], "CLAWDBOT_CONFIG": str(system.directory / "config.yaml")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    answers = list(_values(done.stdout))
    assert len(answers) == len(ANSWERS), done.stdout
    for (name, is_right), answer in zip(ANSWERS, answers, strict=True):
        assert is_right(answer), (name, answer)


def _values(text: str) -> list[dict[str, object]]:
    """Return the JSON values that stand in `text` one after the other."""
    decoder, found = json.JSONDecoder(), []
    while text := text.strip():
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:]
    return found
