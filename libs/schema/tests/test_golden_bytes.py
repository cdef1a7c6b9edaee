"""Bytes of every released message: what was said once must be understood for ever.

A file that fails to decode means that running services of the last version cannot be understood:
give the message a new major version instead. New messages get their file by
`python libs/schema/tests/test_golden_bytes.py`, which never overwrites one.
"""

from __future__ import annotations

import enum
import sys
import types
import typing
from pathlib import Path

import msgpack
import pydantic
import pytest

from clawdbot.schema import (
    attachments,
    blobs,
    controls,
    deeds,
    deliveries,
    edge,
    errors,
    executor,
    inference,
    memory,
    messages,
    senders,
    skill,
    tokens,
)
from clawdbot.schema.codec import decode, encode
from clawdbot.schema.wire import Wire

GOLDEN = Path(__file__).parent / "golden"
MODULES = (
    attachments,
    blobs,
    controls,
    deeds,
    deliveries,
    edge,
    errors,
    executor,
    inference,
    memory,
    messages,
    senders,
    skill,
    tokens,
)


def wire_types() -> list[type[Wire]]:
    """Every message that the schema declares, by name."""
    found = {
        value
        for module in MODULES
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Wire) and value is not Wire
    }
    return sorted(found, key=lambda kind: kind.SCHEMA)


def sample(kind: type[Wire]) -> Wire:
    """A message with every field filled, the same at each call."""
    return kind.model_validate(
        {name: _value(field.annotation, field) for name, field in kind.model_fields.items()}
    )


def _value(  # noqa: C901 -- one line per shape of annotation
    annotation: object, field: pydantic.fields.FieldInfo | None = None
) -> object:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return _value(next(arg for arg in arguments if arg is not type(None)), field)
    if origin is typing.Literal:
        return arguments[0]
    if origin in (tuple, frozenset):
        return [_value(arguments[0])]
    if origin is dict:
        return {"key": "值"}
    if isinstance(annotation, typing.NewType):
        return "token"
    if isinstance(annotation, type) and issubclass(annotation, Wire):
        return sample(annotation)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return next(iter(annotation))
    plain: dict[object, object] = {str: "文本", int: 1, float: 1.0, bool: True, bytes: b"\x00\xff"}
    if (
        annotation is str
        and field is not None
        and any(getattr(rule, "min_length", 0) == 64 for rule in field.metadata)
    ):
        return "0" * 64
    return plain[annotation]


def _cut(value: object, written: object) -> object:
    """Return `value` without the fields that `written` does not have, however deep."""
    if isinstance(value, dict) and isinstance(written, dict):
        return {name: _cut(value[name], written[name]) for name in written}
    if isinstance(value, list | tuple) and isinstance(written, list):
        return [_cut(one, other) for one, other in zip(value, written, strict=True)]
    return value


def _file(kind: type[Wire]) -> Path:
    return GOLDEN / f"{kind.SCHEMA.replace('/', '.')}.msgpack"


@pytest.mark.parametrize("kind", wire_types(), ids=lambda kind: kind.SCHEMA)
def test_released_bytes_are_understood(kind: type[Wire]) -> None:
    released = _file(kind).read_bytes()

    message = decode(kind, released, kind.SCHEMA)

    # Fields that are newer than the file have their default.
    written = msgpack.unpackb(released)
    assert _cut(message.model_dump(), written) == _cut(sample(kind).model_dump(), written)


@pytest.mark.parametrize("kind", wire_types(), ids=lambda kind: kind.SCHEMA)
def test_no_field_of_a_released_message_disappears(kind: type[Wire]) -> None:
    released = msgpack.unpackb(_file(kind).read_bytes())

    assert released.keys() <= kind.model_fields.keys()


def test_no_two_messages_share_a_name() -> None:
    names = [kind.SCHEMA for kind in wire_types()]

    assert len(names) == len(set(names))


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for missing in (kind for kind in wire_types() if not _file(kind).exists()):
        _file(missing).write_bytes(encode(sample(missing)))
        sys.stdout.write(f"{missing.SCHEMA}\n")
