"""Functions that a program lends to a model, and the calls that the model writes.

A call is the whole answer: `{"name": "...", "arguments": {...}}`, with exactly this white space,
since the model is held to a schema. An answer that begins otherwise is text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clawdbot.gateway.domain.completions import CallBegun, CallPiece, Piece, ToolCall
from clawdbot.schema.inference import ChatTurn

NO_PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {},
    "additionalProperties": False,
}
_HEAD = re.compile(r'\{"name": "([^"]*)", "arguments": ')


@dataclass(frozen=True)
class Tool:
    """A function that the program would run."""

    name: str
    """Of letters, digits, `_` and `-`."""
    description: str
    parameters: dict[str, Any]
    """JSON Schema of its arguments."""


@dataclass(frozen=True)
class Toolbox:
    """What may be called."""

    tools: tuple[Tool, ...]
    is_required: bool
    """Whether the answer must be a call."""

    def schema(self) -> str:
        """Return the JSON Schema of a call."""
        calls = [
            {
                "type": "object",
                "properties": {
                    "name": {"const": tool.name},
                    "arguments": _moved(tool.parameters, f"#/anyOf/{index}/properties/arguments"),
                },
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
            for index, tool in enumerate(self.tools)
        ]
        return json.dumps({"anyOf": calls}, ensure_ascii=False)

    def told(self, turns: Sequence[ChatTurn]) -> tuple[ChatTurn, ...]:
        """Return the conversation with the functions explained in its first system message."""
        explained = self._explanation()
        if turns and turns[0].role == "system":
            first = f"{turns[0].content}\n\n{explained}"
            return (ChatTurn(role="system", content=first), *turns[1:])
        return (ChatTurn(role="system", content=explained), *turns)

    def _explanation(self) -> str:
        functions = "\n".join(
            json.dumps(
                {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                },
                ensure_ascii=False,
            )
            for tool in self.tools
        )
        otherwise = "" if self.is_required else " If none of them helps, answer in plain text."
        return (
            f"You can call these functions:\n{functions}\n"
            'To call one, answer only with {"name": "<function>", "arguments": {...}}.'
            f"{otherwise}"
        )


class CallText:
    """Reads an answer that may be a call, while it is written."""

    def __init__(self) -> None:
        self._written = ""
        self._name: str | None = None
        self._at = 0
        """How much of what was written is out."""

    @property
    def _is_call(self) -> bool:
        return self._written.startswith("{")

    def push(self, text: str) -> list[Piece | CallBegun | CallPiece]:
        """Return what `text` adds."""
        self._written += text
        if not self._is_call:
            self._at = len(self._written)
            return [Piece(text)] if text else []
        events: list[Piece | CallBegun | CallPiece] = []
        if self._name is None:
            if (head := _HEAD.match(self._written)) is None:
                return []
            self._name, self._at = head[1], head.end()
            events.append(CallBegun(self._name))
        # The last character may be the brace that closes the call.
        return events + self._arguments(len(self._written) - 1)

    def finish(self, *, is_cut: bool) -> list[Piece | CallBegun | CallPiece]:
        """Return the rest; `is_cut` when the answer was ended before the model ended it."""
        if not self._is_call:
            return []
        if self._name is None:
            return [Piece(self._written)]
        return self._arguments(len(self._written) - (0 if is_cut else 1))

    def call(self, *, is_cut: bool) -> ToolCall | None:
        """Return the whole call; None when the answer is text."""
        head = _HEAD.match(self._written)
        if head is None:
            return None
        end = len(self._written) - (0 if is_cut else 1)
        return ToolCall(head[1], self._written[head.end() : end])

    def _arguments(self, end: int) -> list[Piece | CallBegun | CallPiece]:
        piece = self._written[self._at : end]
        self._at += len(piece)
        return [CallPiece(piece)] if piece else []


def _moved(schema: Any, place: str) -> Any:
    """Return `schema` with its references to itself as they are from `place` on."""
    if isinstance(schema, list):
        return [_moved(item, place) for item in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {key: _moved(value, place) for key, value in schema.items()}
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = place + reference[1:]
    return moved
