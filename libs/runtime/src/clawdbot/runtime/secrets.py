"""Secrets: from the environment or from files, never from the YAML, never in a repr.

`CLAWDBOT_SECRET_<NAME>` wins over the file `<data_dir>/secrets/<name>`; `CLAWDBOT_SECRETS_DIR`
moves the folder, as a mounted Kubernetes secret wants it.
"""

from __future__ import annotations

import os
from pathlib import Path

from clawdbot.runtime.config import Config, ConfigError

WEBHOOK = "webhook_secret"
JWT = "jwt_secret"
JWT_PRIVATE = "jwt_private_key"
"""Signs API tokens where they are not HS256; the gateway never reads it."""
JWT_PUBLIC = "jwt_public_keys"
"""The JSON Web Key Set by which the gateway believes them."""
API_TOKEN = "api_token"  # noqa: S105 -- the name of a secret
"""What `clawdbot chat` shows where tokens come from an identity provider."""
ID_KEY = "id_key"
PRINCIPAL_PRIVATE = "principal_private_key"
PRINCIPAL_PUBLIC = "principal_public_key"
JETSTREAM = "jetstream_key"
MEMORY_MASTER = "memory_master_key"
AUDIT = "audit_key"
REPLY = "reply_key"
"""Encrypts reply addresses that hold a platform's token, on their way through the stack."""


def bus_seed(user: str) -> str:
    """Return the name of the secret with which `user` proves itself to the broker."""
    return f"nats_{user}"


class Secrets:
    """Reads secrets by name, when they are needed.

    Args:
        directory: one file per secret.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @classmethod
    def of(cls, config: Config) -> Secrets:
        """Return the secrets that belong to `config`."""
        default = config.app.data_dir / "secrets"
        return cls(Path(os.environ.get("CLAWDBOT_SECRETS_DIR", default)))

    def read(self, name: str) -> bytes:
        """Return the secret without surrounding white space.

        Raises:
            ConfigError: it is missing or blank; names the variable and the file.
        """
        variable = f"CLAWDBOT_SECRET_{name.upper()}"
        path = self.directory / name
        value = os.environ.get(variable, "").encode()
        if not value and path.is_file():
            value = path.read_bytes()
        if not value.strip():
            raise ConfigError(f"the secret {name!r} is missing: set {variable} or write {path}")
        return value.strip()

    def text(self, name: str) -> str:
        """Return the secret as text.

        Raises:
            ConfigError: it is missing, blank or not UTF-8.
        """
        try:
            return self.read(name).decode()
        except UnicodeDecodeError as exc:
            raise ConfigError(f"the secret {name!r} is not UTF-8 text") from exc
