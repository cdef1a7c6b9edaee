"""Buttons of ours in Feishu: a card that asks, and what pressing one says.

Source: Feishu Open Platform, "Card callback" (`card.action.trigger`, answered within 3 s) and "Card
JSON structure"; a card may have 30 KB.
"""

from __future__ import annotations

import json

from clawdbot.gateway.adapters.fields import Body, Name
from clawdbot.gateway.adapters.platforms.buttons import buttons_of, is_ours
from clawdbot.gateway.adapters.platforms.feishu_messages import MessageName, Text
from clawdbot.gateway.adapters.platforms.interface import PlatformMessage
from clawdbot.gateway.domain.messages import ReplyPart

PRESSED = "card.action.trigger"


class Header(Body):
    """`header` of the event."""

    event_id: Name


class Value(Body):
    """What a button of ours carries."""

    say: Text = ""


class Action(Body):
    """The button."""

    value: Value = Value()


class Operator(Body):
    """Who pressed it."""

    open_id: Name


class Context(Body):
    """Where the card stands."""

    open_message_id: MessageName
    open_chat_id: Name


class Press(Body):
    """`event` of the event."""

    operator: Operator
    action: Action
    context: Context


class CardAction(Body):
    """A `PRESSED` event."""

    header: Header
    event: Press


def message_of_press(action: CardAction) -> PlatformMessage | None:
    """Return what pressing a button says, or None when it is none of ours.

    The event does not tell topics: pressed in one, it belongs to the chat around it, while the
    reply goes below the card.
    """
    press = action.event
    if not is_ours(press.action.value.say):
        return None
    return PlatformMessage(
        event_id=action.header.event_id,
        sender_id=press.operator.open_id,
        content=press.action.value.say,
        place=(press.context.open_chat_id, ""),
        address={"message_id": press.context.open_message_id},
        # The event does not tell; to a stranger in a direct chat no button was ever shown.
        in_group=True,
    )


def card(part: ReplyPart) -> dict[str, str] | None:
    """Return the message that shows `part` with its buttons; None when it has none."""
    actions = [
        {
            "tag": "button",
            "text": {"tag": "plain_text", "content": button.label},
            "type": "primary" if button.is_approval else "danger",
            "value": {"say": button.value},
        }
        for button in buttons_of(part)
    ]
    if not actions:
        return None
    # Plain: nothing in it calls anybody or becomes a link.
    said = {"tag": "div", "text": {"tag": "plain_text", "content": part.text}}
    elements = [said, {"tag": "action", "actions": actions}]
    content = {"config": {"wide_screen_mode": True}, "elements": elements}
    return {"msg_type": "interactive", "content": json.dumps(content, ensure_ascii=False)}
