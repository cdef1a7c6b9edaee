"""Buttons of ours in Mattermost: how they are shown, and that a press is one of them.

A press carries no token. It carries the button's `context`, which the server keeps to itself: who
reads the post through the API is not shown it ("Interactive messages": put a secret there). The
secret is a MAC over the answer and its place, so that one that leaks answers that question alone.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Annotated, Literal

from pydantic import Field

from clawdbot.gateway.adapters.fields import Body, Content, read_fields
from clawdbot.gateway.adapters.platforms.buttons import buttons_of, is_ours
from clawdbot.gateway.adapters.platforms.keys import Keys
from clawdbot.gateway.adapters.platforms.mattermost_payloads import Id
from clawdbot.gateway.domain.messages import ReplyPart

PURPOSE = b"mattermost action\x00"


class Context(Body):
    """What we put into a button and get back."""

    value: Content
    post_id: Id | Literal[""]
    """The post that the question answers; none where a command asked it."""
    mac: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @property
    def said(self) -> str | None:
        """What pressing says; None when it answers nothing."""
        return self.value if is_ours(self.value) else None


class Actions:
    """Makes and knows buttons of one account.

    Args:
        keys: secrets of the account; the first makes them, any is believed.
        url: where Mattermost reports presses.
    """

    def __init__(self, keys: Keys, url: str) -> None:
        self._keys = keys
        self._url = url

    def shown(self, part: ReplyPart, channel_id: str, post_id: str) -> dict[str, object]:
        """Return the fields that put the buttons of `part` below its text."""
        actions = [
            {
                "id": button.name,
                "type": "button",
                "name": button.label,
                "style": "primary" if button.is_approval else "danger",
                "integration": {
                    "url": self._url,
                    "context": {
                        "value": button.value,
                        "post_id": post_id,
                        "mac": _mac(self._keys.first, channel_id, post_id, button.value),
                    },
                },
            }
            for button in (buttons_of(part) if self._url else ())
        ]
        return {"props": {"attachments": [{"actions": actions}]}} if actions else {}

    def are_pressed(self, channel_id: object, context: dict[str, object]) -> bool:
        """Return whether `context` is one that we made for this channel."""
        offered = read_fields(Context, context)
        expected = [
            _mac(key, str(channel_id), offered.post_id, offered.value) for key in self._keys
        ]
        return any([hmac.compare_digest(one, offered.mac) for one in expected])


def _mac(key: bytes, channel_id: str, post_id: str, value: str) -> str:
    bound = json.dumps([channel_id, post_id, value]).encode()
    return hmac.new(key, PURPOSE + bound, hashlib.sha256).hexdigest()
