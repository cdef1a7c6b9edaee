from __future__ import annotations

from pathlib import Path

import pytest

from clawdbot.cli.failures import Failure
from clawdbot.cli.secrets_setup import ensure_secrets, names
from clawdbot.runtime.broker import public_key
from clawdbot.runtime.secrets import Secrets, bus_seed
from clawdbot.schema.ids import Channel, ConversationId, Tenant
from clawdbot.schema.permissions import USERS
from clawdbot.schema.principal import Principal, PrincipalSigner, PrincipalVerifier


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "data" / "secrets"


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_every_secret_is_made_for_its_owner_alone(directory: Path) -> None:
    made = ensure_secrets(directory)

    assert sorted(made) == sorted(names()) == sorted(contents(directory))
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}


def test_every_user_of_the_bus_gets_a_seed_of_its_own(directory: Path) -> None:
    ensure_secrets(directory)

    keys = {public_key(Secrets(directory).read(bus_seed(user))) for user in USERS}

    assert len(keys) == len(USERS)
    assert all(key.startswith("U") for key in keys)


def test_no_two_secrets_are_alike(directory: Path, tmp_path: Path) -> None:
    ensure_secrets(directory)
    ensure_secrets(tmp_path / "other")

    values = [*contents(directory).values(), *contents(tmp_path / "other").values()]

    assert len(set(values)) == len(values)


def test_a_secret_that_exists_is_never_written_again(directory: Path) -> None:
    ensure_secrets(directory)
    before = contents(directory)
    (directory / "jwt_secret").unlink()

    made = ensure_secrets(directory)

    after = contents(directory)
    assert made == ["jwt_secret"]
    assert {name for name in before if before[name] != after[name]} == {"jwt_secret"}


def test_a_secret_from_the_environment_needs_no_file(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAWDBOT_SECRET_JWT_SECRET", "x" * 32)

    made = ensure_secrets(directory)

    assert "jwt_secret" not in made
    assert not (directory / "jwt_secret").exists()


def test_the_two_halves_of_the_principal_key_fit(directory: Path) -> None:
    ensure_secrets(directory)
    secrets = Secrets(directory)
    principal = Principal(
        tenant=Tenant("t"),
        user="u",
        scopes=frozenset(),
        conversation_id=ConversationId("c"),
        channel=Channel("api"),
    )

    token = PrincipalSigner(secrets.read("principal_private_key")).sign(principal)

    assert PrincipalVerifier(secrets.read("principal_public_key")).verify(token) == principal


def test_a_lost_public_half_is_made_from_the_private_one(directory: Path) -> None:
    ensure_secrets(directory)
    public = (directory / "principal_public_key").read_bytes()
    (directory / "principal_public_key").unlink()

    ensure_secrets(directory)

    assert (directory / "principal_public_key").read_bytes() == public


def test_a_private_key_that_is_none_is_said_so(directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "principal_private_key").write_text("nonsense")

    with pytest.raises(Failure, match="principal_private_key"):
        ensure_secrets(directory)


def test_a_folder_that_others_can_write_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "jwt_secret").write_text("planted by somebody")

    with pytest.raises(Failure, match="written by others"):
        ensure_secrets(folder)


def test_secrets_that_others_could_read_are_closed(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o700)
    (folder / "jwt_secret").write_text("x" * 64)
    (folder / "jwt_secret").chmod(0o644)

    ensure_secrets(folder)

    assert (folder / "jwt_secret").stat().st_mode & 0o777 == 0o600
