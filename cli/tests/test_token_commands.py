"""`clawdbot token` where no broker runs: what it makes, and what it says it needs."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import jwt
import pytest
from typer.testing import CliRunner, Result

from clawdbot.cli.main import app
from clawdbot.cli.token_keys import ensure_keys
from clawdbot.runtime.broker import new_user_seed
from clawdbot.runtime.config import Config
from clawdbot.runtime.secrets import Secrets
from clawdbot.schema.tokens import secret_key_id


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / ".clawdbot" / "secrets"
    folder.mkdir(parents=True)
    (folder / "jwt_secret").write_text("j" * 64)
    (folder / "nats_operator").write_bytes(new_user_seed())
    configure(tmp_path)
    return folder


def configure(folder: Path, **jwt_keys: Any) -> None:
    document: dict[str, Any] = {"gateway": {"jwt": jwt_keys}}
    (folder / "config.yaml").write_text(json.dumps(document))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["token", *arguments])


def created(*arguments: str) -> str:
    result = run("create", "--unrecorded", *arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.usefixtures("secrets")
@pytest.mark.parametrize(
    "arguments",
    [
        ("--scope", "chat", "--scope", "admin"),
        ("--scopes", "chat, admin"),
        ("--scope", "admin,chat"),
    ],
)
def test_scopes_are_named_one_by_one_or_together(arguments: tuple[str, ...]) -> None:
    claims = jwt.decode(created(*arguments), options={"verify_signature": False})

    assert claims["scopes"] == ["admin", "chat"]


@pytest.mark.usefixtures("secrets")
def test_a_token_can_only_talk_unless_more_is_asked_for() -> None:
    claims = jwt.decode(created(), options={"verify_signature": False})

    assert claims["scopes"] == ["chat", "memory:read", "memory:write"]
    assert claims["sub"] == "owner"


@pytest.mark.slow
@pytest.mark.integration
def test_without_a_broker_nothing_is_printed_but_what_to_do(secrets: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        bus = {"url": f"nats://127.0.0.1:{closed.getsockname()[1]}"}
        (secrets.parents[1] / "config.yaml").write_text(json.dumps({"bus": bus}))

        result = run("create")

    assert (result.exit_code, result.stdout) == (1, "")
    assert "cannot be recorded" in result.stderr
    assert "clawdbot up" in result.stderr
    assert "--unrecorded" in result.stderr


@pytest.mark.usefixtures("secrets")
@pytest.mark.parametrize(
    "arguments", [(), ("an-id", "--subject", "ann"), ("eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl",), ("",)]
)
def test_what_names_no_token_is_refused_before_anybody_is_asked(
    arguments: tuple[str, ...],
) -> None:
    assert run("revoke", *arguments).exit_code == 2


def test_a_new_secret_signs_while_the_old_one_is_believed_until_it_is_dropped(
    secrets: Path,
) -> None:
    new_id = run("rotate").stdout.split()[-1]

    new, old = (secrets / "jwt_secret").read_text().split()
    assert (old, secret_key_id(new.encode())) == ("j" * 64, new_id)
    assert jwt.get_unverified_header(created())["kid"] == new_id

    assert "dropped 1" in run("rotate", "--drop-old").stdout
    assert (secrets / "jwt_secret").read_text().split() == [new]
    assert (secrets / "jwt_secret").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("algorithm", ["RS256", "EdDSA"])
def test_public_keys_rotate_in_the_same_way(secrets: Path, algorithm: str) -> None:
    configure(secrets.parents[1], algorithm=algorithm)
    assert run("rotate").exit_code == 0
    first = created()
    assert run("rotate").exit_code == 0
    second = created()

    keys = jwt.PyJWKSet.from_json(run("jwks").stdout)
    for token in (first, second):
        key = keys[jwt.get_unverified_header(token)["kid"]]
        claims = jwt.decode(token, key, algorithms=[algorithm], audience="clawdbot")
        assert claims["sub"] == "owner"

    assert "dropped 1" in run("rotate", "--drop-old").stdout
    kept = json.loads(run("jwks").stdout)["keys"]
    assert [key["kid"] for key in kept] == [jwt.get_unverified_header(second)["kid"]]
    assert not {"d", "p", "q", "k"} & kept[0].keys()


def test_the_stack_makes_the_keys_that_it_wants_once(tmp_path: Path) -> None:
    config = Config(gateway={"jwt": {"algorithm": "EdDSA"}})  # type: ignore[arg-type]  # pydantic reads it
    found = Secrets(tmp_path)

    made = ensure_keys(config, found)
    (tmp_path / "jwt_public_keys").unlink()
    again = ensure_keys(config, found)

    assert made == ["jwt_private_key", "jwt_public_keys"]
    assert again == ["jwt_public_keys"]
    assert ensure_keys(config, found) == []
    assert ensure_keys(Config(), Secrets(tmp_path / "other")) == []


def test_a_private_key_of_another_kind_is_refused(secrets: Path) -> None:
    configure(secrets.parents[1], algorithm="RS256")
    run("rotate")
    configure(secrets.parents[1], algorithm="EdDSA")

    result = run("create", "--unrecorded")

    assert result.exit_code == 2
    assert "no key for EdDSA" in result.stderr


def test_a_secret_of_the_environment_is_not_rotated_behind_its_back(
    secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAWDBOT_SECRET_JWT_SECRET", "e" * 64)

    result = run("rotate")

    assert result.exit_code == 1
    assert "CLAWDBOT_SECRET_JWT_SECRET" in result.stderr
    assert (secrets / "jwt_secret").read_text() == "j" * 64


def test_with_an_identity_provider_tokens_come_from_there(secrets: Path) -> None:
    url = "https://id.example/keys"
    configure(secrets.parents[1], algorithm="RS256", jwks_url=url)

    for arguments in (("create",), ("rotate",)):
        result = run(*arguments)
        assert result.exit_code == 1
        assert url in result.stderr


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"algorithm": "none"}, "HS256"),
        ({"jwks_url": "https://id.example/keys"}, "must not be public"),
        ({"algorithm": "RS256", "jwks_url": "http://id.example/keys"}, "https"),
        ({"algorithm": "RS256", "jwks_url": "https://me:pw@id.example/keys"}, "password"),
        ({"algorithm": "RS256", "jwks_url": "file:///etc/passwd"}, "https"),
        ({"default_tenant": "a.b"}, "pattern"),
    ],
)
def test_a_configuration_that_would_weaken_tokens_is_refused(
    secrets: Path, keys: dict[str, Any], said: str
) -> None:
    configure(secrets.parents[1], **keys)

    result = run("create", "--unrecorded")

    assert result.exit_code == 2
    assert said in result.stderr
