"""`tools`, `tool_choice` and `response_format` of a chat completion request."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from clawdbot.gateway.adapters.fields import storable
from clawdbot.gateway.adapters.openai_errors import Unsupported
from clawdbot.gateway.domain.tool_calls import NO_PARAMETERS, Tool, Toolbox
from clawdbot.schema.errors import InvalidMessage

MAX_TOOLS = 128
"""As OpenAI has it; the model's context and the bounds of a schema are met before."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
ANY_OBJECT = '{"type": "object"}'


def read_toolbox(tools: object, choice: object) -> Toolbox | None:
    """Return what the model may call; None when nothing.

    Raises:
        InvalidMessage: a tool or the choice is not as OpenAI has it.
        Unsupported: a tool that is no function.
    """
    known = _tools(tools)
    match choice:
        case "none":
            return None
        case None | "auto":
            return Toolbox(known, is_required=False) if known else None
        case "required" if known:
            return Toolbox(known, is_required=True)
        case {"type": "function", "function": {"name": str(name)}}:
            named = tuple(tool for tool in known if tool.name == name)
            if named:
                return Toolbox(named, is_required=True)
    raise InvalidMessage(
        "the field 'tool_choice' cannot be used",
        field="tool_choice",
        fix="send none, auto, required, or a function that is among the tools",
    )


def read_schema(response_format: object) -> str | None:
    """Return the JSON Schema that the answer has to follow; None for text.

    Raises:
        InvalidMessage: a format that we do not know.
    """
    match response_format:
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return ANY_OBJECT
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return _json(schema)
    raise InvalidMessage(
        "the field 'response_format' cannot be used",
        field="response_format",
        fix="send the type text, json_object, or json_schema with json_schema.schema",
    )


def _tools(given: object) -> tuple[Tool, ...]:
    if given is None:
        return ()
    if not isinstance(given, list) or len(given) > MAX_TOOLS:
        raise _wrong("tools", f"send a list of at most {MAX_TOOLS}")
    return tuple(_tool(item, f"tools.{index}") for index, item in enumerate(given))


def _tool(given: object, field: str) -> Tool:
    match given:
        case {"type": str(kind)} if kind != "function":
            raise Unsupported(f"the field {field!r} is no function", field=field)
        case {"type": "function", "function": {"name": str(name), **rest}}:
            if not _NAME.fullmatch(name):
                raise _wrong(f"{field}.function.name", f"let it match {_NAME.pattern}")
            return Tool(name, _description(rest, field), _parameters(rest, field))
    raise _wrong(field, "send type 'function' and function.name")


def _description(rest: Mapping[Any, Any], field: str) -> str:
    description = rest.get("description") or ""
    if not isinstance(description, str):
        raise _wrong(f"{field}.function.description", "send a string")
    return str(storable(description))


def _parameters(rest: Mapping[Any, Any], field: str) -> dict[str, Any]:
    parameters = rest.get("parameters")
    if parameters is None or parameters == {}:
        return NO_PARAMETERS
    if not isinstance(parameters, dict):
        raise _wrong(f"{field}.function.parameters", "send a JSON Schema")
    clean: dict[str, Any] = json.loads(_json(parameters))
    return clean


def _json(value: object) -> str:
    # What JSON can escape, the bus cannot carry: lone surrogates above all.
    return str(storable(json.dumps(value, ensure_ascii=False)))


def _wrong(field: str, fix: str) -> InvalidMessage:
    return InvalidMessage(f"the field {field!r} cannot be used", field=field, fix=fix)
