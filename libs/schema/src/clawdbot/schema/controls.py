"""What a person says to the system itself and not to the assistant: a closed list.

The gateway alone recognises these, after it verified who speaks, and carries them out; what came of
it travels with the message, so that the assistant answers in the order of the conversation.
"""

from __future__ import annotations

from enum import StrEnum

from clawdbot.schema.errors import ErrorReply
from clawdbot.schema.executor import Approval
from clawdbot.schema.wire import Wire


class ControlKind(StrEnum):
    """What is asked of the system."""

    APPROVE = "approve"
    DENY = "deny"
    STOP = "stop"
    PAIR = "pair"
    """Nobody said it: the sender is not known yet and is told the code by which an admin can let
    them in."""


class Control(Wire):
    """A control word that the gateway carried out, and what came of it."""

    SCHEMA = "control/1"

    kind: ControlKind
    code: str = ""
    """Of the approval, or of the pairing."""
    approval: Approval | None = None
    """The approval after the decision."""
    error: ErrorReply | None = None
    """Why it was not carried out."""
