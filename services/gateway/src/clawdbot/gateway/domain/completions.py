"""What a program asks of a model or of the assistant, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from clawdbot.gateway.domain.messages import Accepted, Waiting
from clawdbot.schema.errors import NotFound
from clawdbot.schema.messages import Usage

ASSISTANT = "clawdbot"
"""The name under which the assistant, with its memory, stands beside the bare models."""


class ModelUnknown(NotFound):
    """No model of that name does what was asked."""

    code: ClassVar[str] = "model_not_found"


@dataclass(frozen=True)
class Piece:
    """The next characters of an answer."""

    text: str


@dataclass(frozen=True)
class CallBegun:
    """The answer is a call of this function."""

    name: str


@dataclass(frozen=True)
class CallPiece:
    """The next characters of a call's arguments."""

    arguments: str


@dataclass(frozen=True)
class ToolCall:
    """A call that a model wrote."""

    name: str
    arguments: str
    """JSON, unless the answer was cut."""


@dataclass(frozen=True)
class Finished:
    """The whole answer."""

    text: str
    """What was written, a call included."""
    rest: str | None
    """What follows the pieces; None when they are not how the answer begins."""
    finish_reason: str
    """`stop` or `length`."""
    usage: Usage
    backend: str | None = None
    """Name and version of the model that wrote it; None when none did."""
    call: ToolCall | None = None
    """What the text is, when it is a call."""


CompletionEvent = Accepted | Piece | CallBegun | CallPiece | Waiting | Finished
"""Of the assistant `Accepted` first; then pieces and waits, and `Finished` as the last."""


@dataclass(frozen=True)
class Vectors:
    """One vector per text, in the order given."""

    rows: tuple[bytes, ...]
    """Little-endian float32."""
    token_count: int


@dataclass(frozen=True)
class OfferedModel:
    """A model that can be asked for by name."""

    name: str
    kind: str
    """`assistant`, `chat` or `embedding`."""
