"""The one YAML file of the stack, typed; environment variables override it, typos are refused.

`CLAWDBOT_CONFIG` names the file (default `./config.yaml`); `CLAWDBOT_MEMORY__STORAGE_TYPE=...`
overrides `memory.storage_type`. Relative paths are relative to the working directory.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from clawdbot.runtime.config_sections import (
    App,
    Assistant,
    BusSettings,
    Executor,
    Gateway,
    Inference,
    Memory,
    Models,
    Ops,
    Platforms,
    Telemetry,
)

PREFIX = "CLAWDBOT_"
NOT_SETTINGS = re.compile(r"CLAWDBOT_(CONFIG|SECRET_.+|SECRETS_DIR|PARENT_PIPE|MODELS_DIR|PROOF)")
"""Variables with our prefix that are no settings: file, secrets, the supervisor's pipe, tests."""


class ConfigError(Exception):
    """The configuration cannot be used; the message says where and what to write instead."""


class Config(BaseSettings):
    """Everything that can be configured. Secrets are elsewhere: see `clawdbot.runtime.secrets`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    app: App = App()
    memory: Memory = Memory()
    models: Models = Models()
    platforms: Platforms = Platforms()
    gateway: Gateway = Gateway()
    assistant: Assistant = Assistant()
    inference: Inference = Inference()
    executor: Executor = Executor()
    bus: BusSettings = BusSettings()
    telemetry: Telemetry = Telemetry()
    ops: Ops = Ops()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 -- the signature is pydantic-settings' own
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- as above
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file."""
        return env_settings, init_settings


def load_config(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """Return the configuration of file and environment.

    Args:
        path: the YAML file; `CLAWDBOT_CONFIG`, then `./config.yaml`, when not given.
        environ: where mistyped names are looked for.

    Raises:
        ConfigError: the file is missing or no mapping, a name is unknown, or a value is wrong.
    """
    document = _read(path or Path(environ.get(f"{PREFIX}CONFIG", "config.yaml")))
    _refuse_unknown_keys(document, Config, "")
    _refuse_unknown_variables(environ)
    try:
        return Config(**document)
    except ValidationError as exc:
        raise ConfigError("\n".join(_explain(exc))) from exc


def _read(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise ConfigError(f"{path} does not exist; set {PREFIX}CONFIG or create it") from exc
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise ConfigError(f"{path} cannot be read: {exc}") from exc
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path} must hold a mapping of sections, such as 'app:'")
    return document


def _refuse_unknown_keys(document: Mapping[str, Any], model: type[BaseModel], where: str) -> None:
    for key, value in document.items():
        if key not in model.model_fields and model is Platforms:
            # Which chat platforms there are only the gateway knows.
            continue
        if key not in model.model_fields:
            raise ConfigError(f"unknown key {where}{key}{_nearest(str(key), model.model_fields)}")
        inner = model.model_fields[key].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel) and isinstance(value, dict):
            _refuse_unknown_keys(value, inner, f"{where}{key}.")


def _refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    known = {f"{PREFIX}{name}" for name in _variable_names(Config)}
    for name in environ:
        if not name.upper().startswith(PREFIX) or NOT_SETTINGS.fullmatch(name.upper()):
            continue
        if name.upper() not in known:
            raise ConfigError(f"unknown variable {name}{_nearest(name.upper(), known)}")


def _variable_names(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield name.upper()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from (f"{name.upper()}__{rest}" for rest in _variable_names(field.annotation))


def _nearest(name: str, known: Mapping[str, object] | set[str]) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(sorted(known))}"


def _explain(error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_url=False, include_context=False):
        where = ".".join(str(part) for part in problem["loc"])
        yield f"{where}: {problem['msg']}, got {problem['input']!r}"
