"""`clawdbot config`: what is configured, what of it is missing, nothing secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import yaml

from clawdbot.cli.checks import lacks
from clawdbot.cli.secrets_setup import names
from clawdbot.runtime.config import Config, ConfigError
from clawdbot.runtime.secrets import Secrets

_MASK = "***"


def shown(config: Config) -> str:
    """Return the whole configuration as YAML, passwords in addresses masked."""
    masked = _masked(config.model_dump(mode="json"))
    return yaml.safe_dump(masked, sort_keys=False, allow_unicode=True)


def findings(config: Config) -> Iterator[tuple[bool, str]]:
    """Yield what was looked at: whether it is well, and a line about it."""
    yield True, f"models.default means the model {config.models.default_name!r}"
    yield from ((False, f"{lack.what}; {lack.fix}") for lack in lacks(config))
    absent = [name for name in names() if not _is_there(Secrets.of(config), name)]
    if absent:
        directory = Secrets.of(config).directory
        yield False, f"{len(absent)} secrets are missing in {directory}; `clawdbot up` makes them"
    else:
        yield True, "all secrets are there"
    yield from _storage(config)


def _storage(config: Config) -> Iterator[tuple[bool, str]]:
    kind = config.memory.storage_type
    if kind == "sqlite":
        yield True, f"memories are kept in {config.memory.db_path}"
    elif config.memory.database_url is None:
        yield False, f"memory.storage_type is {kind}, which needs memory.database_url"
    else:
        yield True, f"memories are kept in {_mask(config.memory.database_url)}"


def _is_there(secrets: Secrets, name: str) -> bool:
    try:
        secrets.read(name)
    except ConfigError:
        return False
    return True


def _masked(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _masked(inner) for key, inner in value.items()}
    return _mask(value) if isinstance(value, str) else value


def _mask(text: str) -> str:
    parts = urlsplit(text)
    if not parts.scheme or parts.password is None:
        return text
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username}:{_MASK}@{host}"))
