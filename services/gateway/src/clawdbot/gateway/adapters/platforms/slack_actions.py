"""Buttons of ours in Slack: how they are shown, and what pressing one says.

Sources (docs.slack.dev): "block_actions payload", "Button element" (`value` of at most 2,000
characters), "Secondary message attachments", which keep the text above them as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, Strict

from clawdbot.gateway.adapters.fields import Body, Content, Name, read_fields
from clawdbot.gateway.adapters.platforms.buttons import buttons_of, is_ours
from clawdbot.gateway.adapters.platforms.slack_payloads import Moment
from clawdbot.gateway.domain.messages import ReplyPart


class Action(Body):
    """An element that somebody used."""

    type: str
    value: Content | None = None


class Entity(Body):
    """A user or a channel."""

    id: Name


class Origin(Body):
    """Where the buttons stand."""

    is_ephemeral: bool = False
    thread_ts: Moment | None = None


class Parent(Body):
    """The message that they belong to."""

    thread_ts: Moment | None = None


class Pressed(Body):
    """A `block_actions` payload with a button of ours."""

    trigger_id: Name
    user: Entity
    channel: Entity
    actions: Annotated[tuple[Action, ...], Strict(False)]
    container: Origin = Origin()
    message: Parent = Parent()
    response_url: Annotated[str, Field(max_length=2048)] = ""

    @property
    def thread(self) -> str | None:
        """The thread that the question was asked in."""
        return self.message.thread_ts or self.container.thread_ts

    @property
    def said(self) -> str:
        """What pressing says."""
        return next(action.value for action in self.actions if _is_ours(action)) or ""


class Actions(Body):
    """As much of an interaction as tells whether a button of ours was pressed."""

    type: str
    actions: Annotated[tuple[dict[str, Any], ...], Strict(False)] = ()


def pressed(values: Mapping[str, object]) -> Pressed | None:
    """Return the button of ours that was pressed, or None for any other interaction.

    Raises:
        InvalidMessage: a field that we need is missing or wrong.
    """
    interaction = read_fields(Actions, values)
    found = [read_fields(Action, each) for each in interaction.actions]
    if interaction.type != "block_actions" or not any(map(_is_ours, found)):
        return None
    return read_fields(Pressed, values)


def shown(part: ReplyPart) -> dict[str, object]:
    """Return the fields that put the buttons of `part` below its text."""
    elements = [
        {
            "type": "button",
            "action_id": button.name,
            "style": "primary" if button.is_approval else "danger",
            "text": {"type": "plain_text", "text": button.label},
            "value": button.value,
        }
        for button in buttons_of(part)
    ]
    blocks = [{"type": "actions", "elements": elements}]
    return {"attachments": [{"blocks": blocks}]} if elements else {}


def _is_ours(action: Action) -> bool:
    return action.type == "button" and is_ours(action.value or "")
