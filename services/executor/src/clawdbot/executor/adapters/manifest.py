"""The form of an instruction's manifest, and the rules that every manifest obeys."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from clawdbot.executor.domain import instruction as domain
from clawdbot.executor.domain.capabilities import Guarantee
from clawdbot.executor.domain.profile import PROFILES
from clawdbot.executor.domain.wrappers import runs_others
from clawdbot.schema.executor import Risk

_UNBOUNDED = "a string needs an enum or a const, or maxLength and an anchored pattern (^...$)"

Word = Annotated[str, Field(min_length=1, max_length=4096)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Entry(_Strict):
    source: str = Field(alias="from")


class FlagEntry(_Entry):
    """An option that is there or not."""

    kind: Literal["flag"] = Field(alias="as")
    option: str = Field(pattern=r"^-{1,2}[A-Za-z0-9][A-Za-z0-9-]*$")


class OptionEntry(_Entry):
    """An option with a value."""

    kind: Literal["value"] = Field(alias="as")
    option: str = Field(pattern=r"^-{1,2}[A-Za-z0-9][A-Za-z0-9-]*$")


class ChoiceEntry(_Entry):
    """Words of the manifest, picked by the argument."""

    kind: Literal["choice"] = Field(alias="as")
    words: dict[str, tuple[Word, ...]]


class PositionalEntry(_Entry):
    """The argument itself, after a literal `--`."""

    kind: Literal["positional"] = Field(alias="as")


Entry = Annotated[
    FlagEntry | OptionEntry | ChoiceEntry | PositionalEntry, Field(discriminator="kind")
]


class AcceptedSample(_Strict):
    """Arguments and what they must become, without the executable."""

    arguments: dict[str, JsonValue]
    argv: tuple[str, ...]


class Samples(_Strict):
    """What a test sends to the instruction."""

    accept: tuple[AcceptedSample, ...] = Field(min_length=1)
    refuse: tuple[dict[str, JsonValue], ...] = Field(min_length=1)


class Summary(_Strict):
    """One line for people and models, in each language that we speak."""

    en: str
    zh: str


class Manifest(_Strict):
    """One instruction as its file states it."""

    id: str = Field(pattern=r"^[a-z0-9]+(\.[a-z0-9]+)+$", max_length=64)
    version: int = Field(ge=1)
    summary: Summary
    executable: str = Field(pattern=r"^/usr/(bin|sbin|lib)/[A-Za-z0-9._/+-]+$")
    arguments: dict[str, JsonValue]
    argv: tuple[Word | Entry, ...]
    profile: str
    risk: int = Field(ge=0, le=3)
    confirm: Literal["never", "always"]
    requires: tuple[str, ...]
    samples: Samples

    @model_validator(mode="after")
    def _obeys_the_rules(self) -> Self:
        Draft202012Validator.check_schema(self.arguments)
        properties = _check_object(self.arguments)
        _check_template(self.argv, properties)
        if self.profile not in PROFILES:
            raise ValueError(f"no profile {self.profile!r}")
        if self.risk < Risk.ARBITRARY_OR_IRREVERSIBLE and runs_others(self.executable):
            raise ValueError(f"{self.executable!r} runs other programs, which is risk 3")
        if ".." in PurePosixPath(self.executable).parts:
            raise ValueError("the executable's path must not hold '..'")
        unknown = set(self.requires) - set(Guarantee)
        if unknown:
            raise ValueError(f"no such guarantee: {sorted(unknown)}")
        return self

    def template(self) -> tuple[domain.Part, ...]:
        """Return the argv template as the domain knows it."""
        return tuple(map(_part, self.argv))


def _part(entry: str | Entry) -> domain.Part:
    match entry:
        case str():
            return domain.Literal(entry)
        case FlagEntry():
            return domain.Flag(entry.source, entry.option)
        case OptionEntry():
            return domain.Option(entry.source, entry.option)
        case ChoiceEntry():
            return domain.Choice(entry.source, entry.words)
        case PositionalEntry():
            return domain.Positional(entry.source)


def _check_template(
    argv: tuple[str | Entry, ...], properties: dict[str, dict[str, JsonValue]]
) -> None:
    after_options = False
    for entry in argv:
        if isinstance(entry, str):
            after_options = after_options or entry == "--"
            continue
        if entry.source not in properties:
            raise ValueError(f"the argv uses {entry.source!r}, which is no argument")
        if isinstance(entry, PositionalEntry) and not after_options:
            raise ValueError(f"{entry.source!r} is positional and needs a '--' before it")
        if isinstance(entry, ChoiceEntry) and set(entry.words) != _enum(properties[entry.source]):
            raise ValueError(f"the words of {entry.source!r} are not its enum")


def _enum(schema: dict[str, JsonValue]) -> set[str]:
    values = schema.get("enum")
    return {str(value) for value in values} if isinstance(values, list) else set()


def _check_object(schema: dict[str, JsonValue]) -> dict[str, dict[str, JsonValue]]:
    if schema.get("type") != "object" or schema.get("additionalProperties") is not False:
        raise ValueError("an object of arguments must refuse additional properties")
    properties = schema.get("properties", {})
    if not isinstance(properties, dict):
        raise ValueError("properties must be a mapping")
    return {name: _check_value(name, value) for name, value in properties.items()}


def _check_value(name: str, schema: JsonValue) -> dict[str, JsonValue]:
    if not isinstance(schema, dict):
        raise ValueError(f"the schema of {name!r} must be a mapping")
    kind = schema.get("type")
    if "enum" in schema or "const" in schema or kind in ("boolean", "integer"):
        return schema
    if kind == "array" and "maxItems" in schema:
        _check_value(f"{name}[]", schema.get("items"))
    elif kind != "string" or not _is_bounded(schema):
        raise ValueError(f"{name}: {_UNBOUNDED}")
    return schema


def _is_bounded(schema: dict[str, JsonValue]) -> bool:
    pattern = str(schema.get("pattern", ""))
    return "maxLength" in schema and pattern.startswith("^") and pattern.endswith("$")
