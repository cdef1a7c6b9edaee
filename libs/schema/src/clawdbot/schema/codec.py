"""MessagePack bytes of wire models, and back.

Source: https://msgpack.org (specification 2.0); validation by pydantic.
"""

from __future__ import annotations

from typing import TypeVar

import msgpack
from pydantic import ValidationError

from clawdbot.schema.errors import InvalidMessage, TooLarge
from clawdbot.schema.wire import Wire

BROKER_MAX_PAYLOAD_BYTES = 8 * 1024 * 1024
"""The broker's `max_payload`, which counts headers too; it ends a connection that exceeds it."""
MAX_PAYLOAD_BYTES = BROKER_MAX_PAYLOAD_BYTES - 64 * 1024
"""Longest body; what is larger goes through the object store `blobs`."""

M = TypeVar("M", bound=Wire)


def encode(message: Wire) -> bytes:
    """Return the MessagePack map of `message`.

    Raises:
        TooLarge: the bytes exceed `MAX_PAYLOAD_BYTES`.
        InvalidMessage: it holds an integer that MessagePack cannot.
    """
    try:
        data: bytes = msgpack.packb(message.model_dump())
    except OverflowError as exc:
        raise InvalidMessage(f"{message.SCHEMA}: an integer has more than 64 bits") from exc
    if len(data) > MAX_PAYLOAD_BYTES:
        raise TooLarge(f"{message.SCHEMA} of {len(data)} bytes exceeds {MAX_PAYLOAD_BYTES}")
    return data


def decode(expected: type[M], data: bytes, schema: str | None = None) -> M:
    """Return the `expected` model held in `data`.

    Args:
        expected: the type to validate against.
        data: MessagePack bytes.
        schema: the `Claw-Schema` header, when the carrier has one.

    Raises:
        InvalidMessage: another type or major version, not MessagePack, or a field is wrong.
    """
    if schema is not None and schema != expected.SCHEMA:
        raise InvalidMessage(f"expected {expected.SCHEMA}, got {schema!r}", field="Claw-Schema")
    try:
        return expected.model_validate(msgpack.unpackb(data))
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InvalidMessage(f"{expected.SCHEMA}: {first['msg']}", field=name) from exc
    # msgpack raises plain ValueError subclasses, and TypeError or RecursionError for hostile bytes.
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as exc:
        raise InvalidMessage(f"{expected.SCHEMA}: not MessagePack") from exc
