"""`docs/configuration.md`: every key, its variable, its default and its meaning; the secrets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from clawdbot.runtime.config import PREFIX, Config
from scripts.reference import secrets_table
from scripts.reference.markdown import code, page, table
from scripts.reference.sources import field_docstrings, summary

INTRODUCTION = f"""\
The whole stack reads one YAML file: the one that `{PREFIX}CONFIG` names, else `./config.yaml`. What
it does not say takes the default below. An environment variable wins over the file, key by key:
`{PREFIX}` and the key in capitals, with two underscores for each dot, so
`{PREFIX}MEMORY__STORAGE_TYPE=postgresql` is `memory.storage_type: postgresql`. A variable for a
whole section holds it as JSON.

An unknown key, an unknown variable that starts with `{PREFIX}` and a value of the wrong type stop
the service at its start, with the nearest right name. Relative paths are relative to the working
directory. `clawdbot config check` says what is understood and what is missing on this machine,
`clawdbot config show` prints the result.

These variables have the prefix and are no keys: `{PREFIX}CONFIG`, `{PREFIX}SECRETS_DIR` and
`{PREFIX}SECRET_<NAME>` (below), `{PREFIX}PARENT_PIPE` (set by `clawdbot up` for its children) and
`{PREFIX}MODELS_DIR` (where the tests find the models)."""

DEBUG = """\
`app.debug: true` sets the log level of every service to DEBUG, whatever `ops.log_level` says, and
switches on asyncio's debug mode: a coroutine that blocks the event loop for over 100 ms is
reported, and one that was never awaited is named with its origin. It costs speed. It changes no
answer: errors tell their reader no more than without it, and no content of messages is logged."""

UNITS = {"_s": "seconds", "_bytes": "bytes", "_mb": "MiB"}
PLAIN: dict[Any, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    tuple[str, ...]: "list of text",
}


@dataclass(frozen=True)
class Key:
    """One thing that can be configured."""

    name: str
    kind: str
    default: str
    meaning: str

    @property
    def variable(self) -> str:
        """The environment variable that overrides it."""
        return PREFIX + self.name.replace(".", "__").upper()


def document() -> str:
    """Return the document."""
    sections = (_section(name, model, found) for name, model, found in tables(Config))
    return page("Configuration", INTRODUCTION, *sections, _debug(), secrets_table.section())


def tables(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any, list[Key]]]:
    """Yield each section that has keys of its own: its name, its class and these keys."""
    own: list[Key] = []
    inner: list[tuple[str, Any, list[Key]]] = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            inner += tables(field.annotation, f"{prefix}{name}.")
        else:
            own += _keys(model, f"{prefix}{name}", field)
    if own:
        yield prefix.rstrip("."), model, own
    yield from inner


def _keys(model: type[BaseModel], name: str, field: FieldInfo) -> Iterator[Key]:
    meaning = field_docstrings(model).get(name.rpartition(".")[2], "")
    if get_origin(field.annotation) is not dict:
        yield Key(name, _kind(name, field), _default(field.default), meaning)
        return
    for key, value in field.default.items():
        kind = PLAIN[get_args(field.annotation)[1]]
        yield Key(f"{name}.{key}", kind, _default(value), meaning)


def _section(name: str, model: type[BaseModel], found: list[Key]) -> str:
    # Their docstrings begin with the name, which is the heading here.
    about = summary(model).partition(": ")[2]
    rows = ((code(k.name), k.kind, code(k.default), code(k.variable), k.meaning) for k in found)
    header = ("key", "type", "default", "variable", "meaning")
    return f"## `{name}`\n\n{about[:1].upper()}{about[1:]}\n\n{table(header, rows)}"


def _debug() -> str:
    return f"## What `app.debug` does\n\n{DEBUG}"


def _kind(name: str, field: FieldInfo) -> str:
    annotation, optional = _without_none(field.annotation)
    if get_origin(annotation) is Literal:
        kind = "one of " + ", ".join(code(str(choice)) for choice in get_args(annotation))
    else:
        kind = PLAIN[annotation]
    unit = next((unit for suffix, unit in UNITS.items() if name.endswith(suffix)), None)
    kind = f"{kind} of {unit}" if unit else kind
    bounds = ", ".join(_bounds(field))
    return (f"{kind}, {bounds}" if bounds else kind) + (", or none" if optional else "")


def _bounds(field: FieldInfo) -> Iterator[str]:
    found = {
        limit: getattr(constraint, limit)
        for constraint in field.metadata
        for limit in ("ge", "gt", "le", "lt", "pattern")
        if getattr(constraint, limit, None) is not None
    }
    if {"ge", "le"} <= found.keys():
        yield f"{found.pop('ge')} to {found.pop('le')}"
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    yield from (f"{words[limit]} {found[limit]}" for limit in words if limit in found)
    if "pattern" in found:
        yield f"matching {code(found['pattern'])}"


def _default(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) is not UnionType:
        return annotation, False
    (only,) = (one for one in get_args(annotation) if one is not NoneType)
    return only, True
