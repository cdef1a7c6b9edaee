"""From a caller's arguments to a command line: checked first, then written by us."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

from jsonschema import Draft202012Validator

from clawdbot.executor.domain.instruction import (
    JSON,
    LEADING_DASH,
    Arguments,
    Choice,
    Flag,
    Instruction,
    Literal,
    Option,
    Part,
    Positional,
)
from clawdbot.executor.domain.text import refuse_unsafe
from clawdbot.schema.errors import InvalidMessage, TooLarge

MAX_ARGV_WORDS = 1000
MAX_ARGV_BYTES = 64 * 1024
"""One command line; it must also fit one datagram to the launcher."""


def command_line(instruction: Instruction, arguments: Arguments) -> tuple[str, ...]:
    """Return the argv of `instruction` with `arguments`, the executable first.

    Raises:
        InvalidMessage: the arguments break the instruction's schema or hold refused text.
        TooLarge: the command line would pass `MAX_ARGV_WORDS` or `MAX_ARGV_BYTES`.
    """
    checked = _with_defaults(instruction, arguments)
    _check_schema(instruction, checked)
    for name, value in checked.items():
        _check_text(value, _property(instruction.schema, name), name)
    argv = (instruction.executable, *render(instruction.template, checked))
    _check_size(argv)
    return argv


def render(template: tuple[Part, ...], arguments: Arguments) -> tuple[str, ...]:
    """Return the words of `template` filled with checked `arguments`; absent ones are left out."""
    return tuple(word for part in template for word in _words(part, arguments))


def _words(part: Part, arguments: Arguments) -> Iterator[str]:
    if isinstance(part, Literal):
        yield part.word
        return
    value = arguments.get(part.source)
    if value is None:
        return
    if isinstance(part, Flag):
        yield from (part.option,) if value is True else ()
    elif isinstance(part, Option):
        yield from _option(part.option, _text(value))
    elif isinstance(part, Choice):
        yield from part.words[_text(value)]
    elif isinstance(part, Positional):
        yield from map(_text, value if isinstance(value, list) else [value])


def _option(option: str, value: str) -> tuple[str, ...]:
    # One word where the tool allows it: a value can then never be read as an option.
    return (f"{option}={value}",) if option.startswith("--") else (option, value)


def _text(value: JSON) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise InvalidMessage(f"an argument of type {type(value).__name__} has no place in a command")


def _with_defaults(instruction: Instruction, arguments: Arguments) -> dict[str, JSON]:
    properties = _mapping(instruction.schema, "properties")
    schemas = {name: _mapping(properties, name) for name in properties}
    defaults = {name: schema["default"] for name, schema in schemas.items() if "default" in schema}
    return cast("dict[str, JSON]", {**defaults, **arguments})


def _check_schema(instruction: Instruction, arguments: dict[str, JSON]) -> None:
    errors = Draft202012Validator(dict(instruction.schema)).iter_errors(arguments)
    first = min(errors, key=lambda error: list(map(str, error.absolute_path)), default=None)
    if first is not None:
        name = ".".join(map(str, first.absolute_path)) or "arguments"
        # The validator's own message would quote the value, which may be a person's data.
        raise InvalidMessage(
            f"{name} of {instruction.id!r} breaks the rule {first.validator!r}", field=name
        )


def _check_text(value: JSON, schema: Mapping[str, object], name: str) -> None:
    if isinstance(value, str):
        refuse_unsafe(value, name)
        if value.startswith("-") and schema.get(LEADING_DASH) is not True:
            raise InvalidMessage(f"{name} starts with '-'", field=name)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_text(item, _mapping(schema, "items"), f"{name}.{index}")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(item, _property(schema, key), f"{name}.{key}")


def _property(schema: Mapping[str, object], name: str) -> Mapping[str, object]:
    return _mapping(_mapping(schema, "properties"), name)


def _mapping(schema: Mapping[str, object], key: str) -> Mapping[str, object]:
    found = schema.get(key)
    return found if isinstance(found, Mapping) else {}


def _check_size(argv: tuple[str, ...]) -> None:
    size = sum(len(word.encode()) + 1 for word in argv)
    if len(argv) > MAX_ARGV_WORDS or size > MAX_ARGV_BYTES:
        raise TooLarge(f"the command line is over {MAX_ARGV_WORDS} words or {MAX_ARGV_BYTES} bytes")
