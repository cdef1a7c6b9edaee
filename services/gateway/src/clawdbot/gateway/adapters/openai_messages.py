"""The messages of a chat completion request."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

from clawdbot.gateway.adapters.fields import Body, storable
from clawdbot.gateway.adapters.openai_errors import Unsupported
from clawdbot.schema.errors import InvalidMessage
from clawdbot.schema.inference import ChatTurn

Role = Literal["system", "user", "assistant", "tool"]
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}


class MessageBody(Body):
    """One message; `content` and `tool_calls` have several forms and are read by hand."""

    role: str
    content: object = None
    tool_calls: object = None


def read_turns(messages: Sequence[MessageBody]) -> tuple[ChatTurn, ...]:
    """Return the messages as models read them.

    Raises:
        InvalidMessage: a role or content that we do not know; `field` says which.
        Unsupported: content other than text.
    """
    return tuple(_turn(message, f"messages.{index}") for index, message in enumerate(messages))


def _turn(message: MessageBody, field: str) -> ChatTurn:
    role = _ROLES.get(message.role)
    if role is None:
        raise InvalidMessage(
            f"the field {field + '.role'!r} cannot be used",
            field=f"{field}.role",
            fix=f"send one of {', '.join(_ROLES)}",
        )
    said = [_text(message.content, f"{field}.content")] if message.content is not None else []
    if role == "assistant" and message.tool_calls:
        said += _calls(message.tool_calls, f"{field}.tool_calls")
    if not said:
        raise InvalidMessage(
            f"the field {field + '.content'!r} is missing", field=f"{field}.content"
        )
    return ChatTurn(role=role, content="\n".join(part for part in said if part))


def _text(content: object, field: str) -> str:
    if isinstance(content, str):
        return str(storable(content))
    if not isinstance(content, list):
        raise InvalidMessage(
            f"the field {field!r} cannot be used",
            field=field,
            fix="send a string or a list of text parts",
        )
    return "".join(_part(part, f"{field}.{index}") for index, part in enumerate(content))


def _part(part: object, field: str) -> str:
    match part:
        case {"type": "text", "text": str(text)}:
            return str(storable(text))
        case {"type": str(kind)} if kind != "text":
            raise Unsupported(
                f"the field {field!r} is no text", field=field, fix="send text parts only"
            )
    raise InvalidMessage(f"the field {field!r} is no text part", field=field)


def _calls(calls: object, field: str) -> list[str]:
    """Return the calls as the model is asked to write them."""
    if not isinstance(calls, list):
        raise InvalidMessage(f"the field {field!r} cannot be used", field=field)
    return [_call(call, f"{field}.{index}") for index, call in enumerate(calls)]


def _call(call: object, field: str) -> str:
    match call:
        case {"function": {"name": str(name), "arguments": str(arguments)}}:
            text = f'{{"name": {json.dumps(name)}, "arguments": {arguments}}}'
            return str(storable(text))
    raise InvalidMessage(f"the field {field!r} is no function call", field=field)
