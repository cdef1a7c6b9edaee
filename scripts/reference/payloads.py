"""JSON Schemas of the messages and of their headers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from clawdbot.runtime import headers
from clawdbot.schema.wire import Wire
from scripts.reference.sources import field_docstrings

REFERENCE = "#/components/schemas/{model}"
TEXT = {"type": "string"}
NUMBER = {"type": "string", "pattern": "^[0-9]+$"}

HEADERS: dict[str, dict[str, Any]] = {
    headers.SCHEMA: TEXT | {"description": "Type and major version of the body."},
    headers.DEADLINE: NUMBER
    | {"description": "After this nobody waits any more, Unix milliseconds."},
    headers.PRINCIPAL: TEXT
    | {"description": "On whose behalf: a short-lived JWT that the gateway signed (EdDSA)."},
    "traceparent": TEXT | {"description": "W3C trace context."},
    "tracestate": TEXT | {"description": "W3C trace context; absent when empty."},
    headers.CALL: TEXT | {"description": "Names the call, for renewal and cancellation."},
    headers.INDEX: NUMBER | {"description": "Number of the item, from 0."},
    headers.END: {"const": "1", "description": "This closes the answer."},
    headers.MESSAGE_ID: TEXT
    | {"description": "Makes the broker refuse a copy within its window; dead letters have it."},
    headers.ERROR: TEXT | {"description": "Code of the error."},
    headers.ERROR_CODE: NUMBER | {"description": "HTTP status (RFC 9110) of the error."},
    headers.EXPECTED_LAST_SUBJECT_SEQUENCE: {
        "const": "0",
        "description": "Makes the broker refuse a second message on the subject.",
    },
}
TRACE = ("traceparent", "tracestate")
KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "broadcast": ((headers.SCHEMA,), TRACE),
    "stored": (
        (headers.SCHEMA,),
        (
            headers.EXPECTED_LAST_SUBJECT_SEQUENCE,
            headers.DEADLINE,
            headers.PRINCIPAL,
            headers.MESSAGE_ID,
            *TRACE,
        ),
    ),
    "request": ((headers.SCHEMA, headers.DEADLINE), (headers.PRINCIPAL, *TRACE)),
    "request-for-somebody": ((headers.SCHEMA, headers.DEADLINE, headers.PRINCIPAL), TRACE),
    "streamed-request": (
        (headers.SCHEMA, headers.DEADLINE, headers.CALL),
        (headers.PRINCIPAL, *TRACE),
    ),
    "reply": ((headers.SCHEMA,), ()),
    "item": ((headers.SCHEMA, headers.INDEX), ()),
    "closing": ((headers.SCHEMA, headers.END), ()),
    "error": ((headers.SCHEMA, headers.ERROR, headers.ERROR_CODE), (headers.END,)),
}
"""Which headers each kind of message must and may have."""


class _Untitled(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 -- pydantic's own
        # A title is the field's name once more.
        return False


def schemas(models: Iterable[type[Wire]]) -> dict[str, Any]:
    """Return the schema of each model, and of each type within, by name."""
    known = {model.__name__: model for model in _with_inner(models)}
    _, document = models_json_schema(
        [(model, "validation") for model in known.values()],
        ref_template=REFERENCE,
        schema_generator=_Untitled,
    )
    found: dict[str, Any] = document["$defs"]
    for name, model in known.items():
        for field, text in field_docstrings(model).items():
            if field in found[name].get("properties", {}):
                found[name]["properties"][field]["description"] = text
    return dict(sorted(found.items()))


def header_schemas() -> dict[str, Any]:
    """Return a schema for each kind of headers, named `headers.<kind>`."""
    return {
        f"headers.{kind}": {
            "type": "object",
            "required": list(must),
            "properties": {name: HEADERS[name] for name in (*must, *may)},
        }
        for kind, (must, may) in sorted(KINDS.items())
    }


def _with_inner(models: Iterable[type[Wire]]) -> set[type[Wire]]:
    found: set[type[Wire]] = set()
    ahead = list(models)
    while ahead:
        model = ahead.pop()
        if model not in found:
            found.add(model)
            ahead += [inner for field in model.model_fields.values() for inner in _inner(field)]
    return found


def _inner(field: FieldInfo) -> list[type[Wire]]:
    return [one for one in _flat(field.annotation) if isinstance(one, type) and _is_wire(one)]


def _flat(annotation: Any) -> list[Any]:
    return [annotation, *(inner for one in get_args(annotation) for inner in _flat(one))]


def _is_wire(one: type) -> bool:
    return issubclass(one, Wire)
