"""The command as a person calls it."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from clawdbot.cli.main import app

SECRET = "the shared secret"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLAWDBOT_CONFIG", raising=False)
    write_config(tmp_path, {})
    secrets = tmp_path / ".clawdbot" / "secrets"
    secrets.mkdir(parents=True)
    (secrets / "webhook_secret").write_text(SECRET)
    (secrets / "jwt_secret").write_text("j" * 64)
    return tmp_path


def write_config(folder: Path, values: dict[str, Any]) -> None:
    (folder / "config.yaml").write_text(json.dumps(values))


def run(*arguments: str, given: bytes | None = None) -> Result:
    return CliRunner().invoke(app, arguments, input=given)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("data", [b"", b"{}", b"a\nb\r\n", "你好".encode(), bytes(range(256))])
def test_standard_input_is_signed_byte_by_byte(data: bytes) -> None:
    result = run("sign", given=data)

    assert result.stdout.strip() == hmac.new(SECRET.encode(), data, hashlib.sha256).hexdigest()


@pytest.mark.usefixtures("folder")
def test_a_path_is_signed_for_reading() -> None:
    result = run("sign", "--path", "/api/messages/x")

    expected = hmac.new(SECRET.encode(), b"/api/messages/x", hashlib.sha256).hexdigest()
    assert result.stdout.strip() == expected


def test_a_missing_secret_is_one_line_and_no_traceback(folder: Path) -> None:
    (folder / ".clawdbot" / "secrets" / "webhook_secret").unlink()

    result = run("sign", given=b"")

    assert result.exit_code == 2
    assert "CLAWDBOT_SECRET_WEBHOOK_SECRET" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_unknown_key_is_refused_with_the_nearest_name(folder: Path) -> None:
    write_config(folder, {"app": {"prot": 1}})

    result = run("config", "check")

    assert result.exit_code == 2
    assert "did you mean port?" in result.stderr


@pytest.mark.usefixtures("folder")
def test_a_missing_file_is_refused() -> None:
    result = run("--config", "nowhere.yaml", "config", "show")

    assert result.exit_code == 2
    assert "nowhere.yaml" in result.stderr


def test_what_is_missing_is_listed_with_its_remedy(folder: Path) -> None:
    write_config(folder, {"models": {"default": "./models/llama2-7b.onnx"}})

    result = run("config", "check")

    assert result.exit_code == 0
    assert "missing  the model models/llama2-7b.onnx is missing" in result.stdout
    assert "secrets are missing" in result.stdout


def test_a_password_in_an_address_is_not_shown(folder: Path) -> None:
    url = "postgresql://me:hunter2@db:5432/claw"
    write_config(folder, {"memory": {"storage_type": "postgresql", "database_url": url}})

    shown = run("config", "show").stdout
    checked = run("config", "check").stdout

    assert "hunter2" not in shown + checked
    assert "postgresql://me:***@db:5432/claw" in shown


@pytest.mark.usefixtures("folder")
def test_a_token_with_an_unknown_scope_is_refused() -> None:
    result = run("token", "create", "--scopes", "chat,root")

    assert result.exit_code == 2
    assert "unknown scope 'root'" in result.stderr


@pytest.mark.usefixtures("folder")
def test_a_token_is_printed_alone() -> None:
    result = run("token", "create", "--unrecorded", "--user", "ann", "--ttl", "5m")

    assert result.exit_code == 0
    assert result.stdout.count(".") == 2
    assert len(result.stdout.split()) == 1


def test_models_are_listed_from_their_cards(folder: Path) -> None:
    card = folder / "models" / "tiny" / "1" / "model.yaml"
    card.parent.mkdir(parents=True)
    card.write_text("{name: tiny, version: 1, kind: chat, context_length: 64, files: {}}")

    result = run("models", "list")

    assert "tiny" in result.stdout
    assert "missing: smollm2-135m-instruct" in result.stdout


def test_a_broken_card_is_named(folder: Path) -> None:
    card = folder / "models" / "tiny" / "1" / "model.yaml"
    card.parent.mkdir(parents=True)
    card.write_text("[]")

    result = run("models", "list")

    assert result.exit_code == 1
    assert "model.yaml cannot be read" in result.stderr


def test_services_that_are_not_there_are_not_ready(folder: Path) -> None:
    closed = {"gateway": 1, "assistant": 1, "inference": 1, "memory": 1, "executor": 1}
    write_config(folder, {"app": {"port": 1}, "ops": {"health_ports": closed}})

    result = run("status")

    assert result.exit_code == 1
    assert result.stdout.count("not ready") == 5
