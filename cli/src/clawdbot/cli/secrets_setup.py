"""Creates the local stack's secrets, once: a secret that exists is never written again."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from clawdbot.cli.failures import Failure
from clawdbot.runtime.broker import new_user_seed
from clawdbot.runtime.secrets import (
    AUDIT,
    ID_KEY,
    JETSTREAM,
    JWT,
    MEMORY_MASTER,
    PRINCIPAL_PRIVATE,
    PRINCIPAL_PUBLIC,
    REPLY,
    WEBHOOK,
    bus_seed,
)
from clawdbot.schema.permissions import USERS

_BYTES = 32


def ensure_secrets(directory: Path) -> list[str]:
    """Create what is missing in `directory` (mode 0700, files 0600) and return its names.

    A secret that the environment gives needs no file.

    Raises:
        Failure: a public key is wanted for a private key that cannot be read, or others can write
            to the folder, so that nobody knows whose secrets these are.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _require_ours(directory)
    made = [name for name, make in _MAKERS.items() if _create(directory / name, make)]
    if _create(directory / PRINCIPAL_PUBLIC, lambda: _public_half(directory)):
        made.append(PRINCIPAL_PUBLIC)
    return made


def _require_ours(directory: Path) -> None:
    found = directory.stat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise Failure(
            f"{directory} belongs to somebody else or can be written by others",
            fix=f"remove it if you do not know it, else: chown {os.geteuid()} and chmod 700",
        )
    directory.chmod(0o700)
    for path in directory.iterdir():
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)


def names() -> list[str]:
    """Return the secrets that a whole stack needs."""
    return [*_MAKERS, PRINCIPAL_PUBLIC]


def _text() -> bytes:
    return secrets.token_hex(_BYTES).encode()


def _broker_key() -> bytes:
    # Starts with a letter: the broker parses the variable that holds it as configuration.
    return b"k" + _text()


def _private_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


def _public_half(directory: Path) -> bytes:
    given = os.environ.get(_variable(PRINCIPAL_PRIVATE))
    pem = given.encode() if given else (directory / PRINCIPAL_PRIVATE).read_bytes()
    try:
        key = load_pem_private_key(pem, password=None)
    except ValueError as exc:
        raise Failure(f"the secret {PRINCIPAL_PRIVATE!r} is no private key in PEM form") from exc
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


_MAKERS: dict[str, Callable[[], bytes]] = {
    WEBHOOK: _text,
    JWT: _text,
    ID_KEY: _text,
    REPLY: _text,
    PRINCIPAL_PRIVATE: _private_key,
    **{bus_seed(user): new_user_seed for user in USERS},
    JETSTREAM: _broker_key,
    MEMORY_MASTER: _text,
    AUDIT: _text,
}


def _variable(name: str) -> str:
    return f"CLAWDBOT_SECRET_{name.upper()}"


def _create(path: Path, make: Callable[[], bytes]) -> bool:
    """Write `make()` to `path` in one step, unless it exists; return whether it was written."""
    if path.exists() or os.environ.get(_variable(path.name)):
        return False
    handle, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    scratch = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(make())
            file.flush()
            # What is encrypted with a key that a power cut takes is lost with it.
            os.fsync(file.fileno())
        return _link(scratch, path)
    finally:
        scratch.unlink()


def _link(scratch: Path, path: Path) -> bool:
    try:
        path.hardlink_to(scratch)
    except FileExistsError:
        return False
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return True
