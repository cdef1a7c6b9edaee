"""The table of secrets in `docs/configuration.md`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache

from clawdbot.runtime import secrets
from clawdbot.runtime.service import VERIFYING
from clawdbot.schema.permissions import SERVICES, USERS
from scripts.reference.markdown import code, table
from scripts.reference.sources import modules, services

INTRODUCTION = """\
Never in the YAML. `CLAWDBOT_SECRET_<NAME>` (the name in capitals) wins over the file `<name>` in
`CLAWDBOT_SECRETS_DIR`, which is `<app.data_dir>/secrets` when not set. White space around a secret
is ignored; a missing one stops whoever needs it, naming variable and file. `clawdbot up` creates
what is missing (folder 0700, files 0600) and never writes over what is there."""

MADE = "made as 64 hex digits"
HEX = f"any text; {MADE}"
FORMATS = {
    secrets.WEBHOOK: ("signs and verifies messages of the webhook (HMAC-SHA-256)",
                      f"at least 16 bytes; {MADE}"),
    secrets.JWT: ("verifies API tokens; `clawdbot token create` signs them (HS256)",
                  f"at least 32 bytes, one secret a line, the first signs; {MADE}"),
    secrets.JWT_PRIVATE: ("signs API tokens, where `gateway.jwt.algorithm` is RS256 or EdDSA",
                          "PKCS#8 PEM; made by `clawdbot up` or `clawdbot token rotate`"),
    secrets.JWT_PUBLIC: ("verifies them", "JSON Web Key Set; made with the private key"),
    secrets.API_TOKEN: ("whom `clawdbot chat` speaks for, where `gateway.jwt.jwks_url` is set",
                        "a token of your identity provider"),
    secrets.ID_KEY: ("derives ids from what platforms send; the same on every gateway, for as long "
                     "as the streams keep messages", f"at least 16 bytes; {MADE}"),
    secrets.PRINCIPAL_PRIVATE: ("signs whom a message speaks for", "Ed25519, PKCS#8 PEM"),
    secrets.PRINCIPAL_PUBLIC: ("verifies it", "Ed25519, SubjectPublicKeyInfo PEM"),
    secrets.JETSTREAM: ("encrypts the broker's files", f"any text; {MADE} after a letter"),
    secrets.MEMORY_MASTER: ("encrypts the keys that memories are encrypted with",
                            f"32 bytes, as 64 hex digits or as base64; {MADE}"),
    secrets.AUDIT: ("authenticates audit records", HEX),
    secrets.REPLY: ("encrypts reply addresses that hold a platform's token", HEX),
}  # fmt: skip
SEED = "NKEY user seed (`SU...`)"


def section() -> str:
    """Return the section, a row for each secret."""
    header = ("secret", "what it does", "read by", "format")
    rows = [_row(constant, name) for constant, name in names()]
    rows += [_seed_row(user) for user in USERS]
    return f"## Secrets\n\n{INTRODUCTION}\n\n{table(header, rows)}"


def names() -> Iterator[tuple[str, str]]:
    """Yield the constant and the name of each secret that is not a seed."""
    for constant, name in vars(secrets).items():
        if constant.isupper() and isinstance(name, str):
            yield constant, name


def _row(constant: str, name: str) -> tuple[str, ...]:
    purpose, kind = FORMATS[name]
    readers = ", ".join(_readers(constant)) or "nobody yet"
    return code(name), purpose, readers, kind


def _seed_row(user: str) -> tuple[str, ...]:
    name = secrets.bus_seed(user)
    # The command starts the local broker, which must know everybody, and acts as the other users.
    readers = f"{user}, cli" if user in SERVICES else "cli"
    return code(name), f"proves {code(user)} to the broker", readers, SEED


def _readers(constant: str) -> Iterator[str]:
    for service in services():
        if constant in _named(f"services/{service}"):
            yield service
    if constant in _named("libs/runtime"):
        # The runtime reads on behalf of the services that act for somebody.
        yield from VERIFYING
    if constant in _named("cli"):
        yield "cli"


@cache
def _named(package: str) -> frozenset[str]:
    # These name every secret: to define it, to create it, to stand in for it in tests.
    others = {"secrets.py", "secrets_setup.py", "testing.py"}
    found = modules(package, "secrets")
    trees = (tree for path, tree in found if path.name not in others)
    return frozenset(name for tree in trees for node in ast.walk(tree) for name in _names(node))


def _names(node: ast.AST) -> list[str]:
    match node:
        case ast.ImportFrom(module=secrets.__name__, names=imported):
            return [alias.name for alias in imported]
        case ast.Attribute(value=ast.Name(id="secrets"), attr=name):
            # As in `from clawdbot.runtime import secrets`.
            return [name]
    return []
