"""A stored message on its way to whoever handles it, in the order of its conversation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from clawdbot.schema.deadline import Deadline
from clawdbot.schema.wire import Wire

M = TypeVar("M", bound=Wire)


@dataclass(frozen=True)
class Delivery(Generic[M]):
    """One attempt at one stored message."""

    message: M
    subject: str
    sequence: int
    """Position in the stream; grows within a conversation."""
    attempt: int
    """1 for the first; crashes of a worker count."""
    principal: str | None
    """The signed principal that came with it, to be passed on with every call."""
    deadline: Deadline
