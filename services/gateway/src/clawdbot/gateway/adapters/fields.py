"""Fields of requests: what they may hold, and what to tell whoever sent something else."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import ErrorDetails

from clawdbot.schema.errors import InvalidMessage
from clawdbot.schema.messages import MAX_ATTACHMENTS, MAX_CONTENT_CHARS, Attachment

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def storable(value: object) -> object:
    """Return text without NUL and lone surrogates, which neither UTF-8 nor PostgreSQL can hold."""
    if not isinstance(value, str) or (value.isascii() and "\0" not in value):
        return value
    return _UNSTORABLE.sub("\ufffd", value)


def no_control(value: str) -> str:
    """Return text that fits into ids and logs.

    Raises:
        ValueError: it has control characters.
    """
    if not value.isprintable() and _CONTROL.search(value):
        raise ValueError("control characters are not allowed")
    return value


Name = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(no_control)]
"""An id of the outside's own."""
Label = Annotated[str, BeforeValidator(storable), Field(max_length=255)]
Content = Annotated[str, BeforeValidator(storable), Field(max_length=MAX_CONTENT_CHARS)]


class Body(BaseModel):
    """A request's fields: exact types, unknown ones ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class AttachmentBody(Body):
    """A file that comes with a message; nothing is fetched from its URL here."""

    type: Annotated[str, BeforeValidator(storable), Field(min_length=1, max_length=64)]
    url: Annotated[str, BeforeValidator(storable), Field(min_length=1, max_length=4096)]
    name: Label | None = None
    media_type: Label | None = None

    def attachment(self) -> Attachment:
        """Return it as messages carry it."""
        return Attachment(type=self.type, url=self.url, name=self.name, media_type=self.media_type)


Attachments = Annotated[
    tuple[AttachmentBody, ...], Field(max_length=MAX_ATTACHMENTS), Strict(False)
]
"""JSON has lists where we have tuples."""

B = TypeVar("B", bound=Body)
_NAME = TypeAdapter(Name)

_FIXES: dict[str, str] = {
    "missing": "add the field {field!r}",
    "string_type": "send {field!r} as a string",
    "int_type": "send {field!r} as a whole number",
    "int_from_float": "send {field!r} as a whole number",
    "bool_type": "send {field!r} as true or false",
    "tuple_type": "send {field!r} as a list",
    "model_type": "send {field!r} as an object",
    "model_attributes_type": "send {field!r} as an object",
    "dict_type": "send {field!r} as an object",
    "string_too_long": "shorten {field!r} to at most {max_length} characters",
    "string_too_short": "send {field!r} with at least {min_length} character",
    "string_pattern_mismatch": "let {field!r} match {pattern}",
    "string_unicode": "send {field!r} as valid Unicode, without lone surrogates",
    "too_long": "send at most {max_length} items in {field!r}",
    "greater_than_equal": "send {field!r} as {ge} or more",
    "less_than_equal": "send {field!r} as {le} or less",
    "value_error": "remove the control characters from {field!r}",
}


def read_fields(body: type[B], values: Mapping[str, object]) -> B:
    """Return the fields in `values`.

    Raises:
        InvalidMessage: names the first field that is wrong and what to send instead, never what
            was sent.
    """
    try:
        return body.model_validate(values)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        raise _explained(first) from exc


def read_name(value: object, field: str) -> str:
    """Return a name that came outside of a body, as in a header or path.

    Raises:
        InvalidMessage: it is none.
    """
    try:
        return _NAME.validate_python(value, strict=True)
    except ValidationError as exc:
        fix = "send 1 to 256 characters without control characters"
        raise InvalidMessage(f"{field!r} cannot be used", field=field, fix=fix) from exc


def _explained(error: ErrorDetails) -> InvalidMessage:
    field = ".".join(str(part) for part in error["loc"])
    fix = _FIXES.get(error["type"])
    details = {**error.get("ctx", {}), "field": field}
    # Pydantic's own words name our classes, which nobody outside knows.
    what = "is missing" if error["type"] == "missing" else "cannot be used"
    return InvalidMessage(
        f"the field {field!r} {what}",
        field=field,
        fix=None if fix is None else fix.format(**details),
    )


def require_something_said(content: str, attachments: Sequence[AttachmentBody]) -> None:
    """Pass when there is something to answer.

    Raises:
        InvalidMessage: neither text nor attachment.
    """
    if not content.strip() and not attachments:
        raise InvalidMessage(
            "the message is empty", field="content", fix="send text or an attachment"
        )
