"""What operators do to what the stack keeps: recorded before it is done."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from clawdbot.schema.wire import Wire


class Deed(StrEnum):
    """What an operator may do to a dead letter."""

    REDRIVE = "redrive"
    DROP = "drop"


class OperatorDeed(Wire):
    """One deed, of which the record stood before it began; it may have failed all the same.

    It holds nothing of what was said. Who did it is what the operator's computer said: whoever
    holds the operator's key is believed.
    """

    SCHEMA = "operator_deed/1"

    deed: Deed
    who: str = Field(max_length=256)
    """User and host of the command, and on whose behalf if it ran as another user."""
    at_ms: int
    """When it was about to be done, Unix milliseconds."""
    number: int
    """Of the dead letter, by which `clawdbot dlq list` knew it."""
    stream: str
    """Where the letter's message was stored."""
    sequence: int
    """Its place there."""
    subject: str
    """Its address: channel, tenant, conversation and message in ids of ours."""
    code: str
    """Why it was given up, as an error code."""
    sent_as: str | None = None
    """The address that a redriven message is sent again on."""
