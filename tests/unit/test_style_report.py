"""The style report sees what it is there to see."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.style_report import main

CLEAN = '"""A module."""\n\n\ndef one(first, second):\n    """Return one."""\n    return 1\n'
FAULTS = {
    "broad except": (
        "libs/schema/src/clawdbot/schema/one.py",
        "try:\n    pass\nexcept Exception:\n    raise\ntry:\n    pass\nexcept:\n    raise\n",
    ),
    "patches of own code in tests": (
        "libs/schema/tests/test_one.py",
        "from clawdbot.schema import one\n\ndef test_it(monkeypatch):\n"
        "    monkeypatch.setattr(one, 'one', None)\n",
    ),
    "module lines, max": ("libs/schema/src/clawdbot/schema/one.py", "x = 1\n" * 501),
}
# Planted, so that the report is seen to find them.
BLEMISHES = {
    "TODOs": "x = 1  # TODO: later\n",
    "suppressions without a reason": "import os  # noqa: F401\n",
    "public without docstring, %": "def two(a, b):\n    return 2\n",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project without fault."""
    for name in ("one", "two", "three"):
        module = tmp_path / f"libs/schema/src/clawdbot/schema/{name}.py"
        module.parent.mkdir(parents=True, exist_ok=True)
        module.write_text(CLEAN)
    return tmp_path


def test_clean_code_passes(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", "--root", str(project)]) == 0
    assert "OVER" not in capsys.readouterr().out


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_never_allowed_fails_the_check(
    project: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    path, text = FAULTS[name]
    (project / path).parent.mkdir(parents=True, exist_ok=True)
    (project / path).write_text(f'"""A module."""\n{text}')

    assert main(["--check", "--root", str(project)]) == 1
    out = capsys.readouterr().out
    assert f"OVER {name}" in out
    assert f"{path}:" in out


@pytest.mark.parametrize("name", BLEMISHES)
def test_other_misses_are_shown_and_pass(
    project: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    module = project / "libs/schema/src/clawdbot/schema/one.py"
    module.write_text(CLEAN + BLEMISHES[name])

    assert main(["--check", "--root", str(project)]) == 0
    out = capsys.readouterr().out
    assert f"OVER {name}" in out
    assert "schema/one.py:7" in out


def test_patching_what_is_not_ours_is_no_fault(project: Path) -> None:
    test = project / "libs/schema/tests/test_one.py"
    test.parent.mkdir(parents=True)
    test.write_text(
        "import time\n\ndef test_it(monkeypatch):\n    monkeypatch.setattr(time, 'x', 1)\n"
    )

    assert main(["--check", "--root", str(project)]) == 0
