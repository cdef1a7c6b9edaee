"""What the Telegram Bot API means by an answer that is not `{"ok": true}`.

Source: core.telegram.org/bots/api, "Making requests" and `ResponseParameters`. The text
"message is not modified" is not documented; it has been the same for years, and client libraries
compare it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from clawdbot.gateway.adapters.http_errors import LONGEST_WAIT_S, error_of_status
from clawdbot.gateway.adapters.platforms.api import APIAnswer
from clawdbot.gateway.domain.deliveries import AnswerLost
from clawdbot.schema.errors import ClawdbotError, Overloaded, Rejected

WHO = "telegram"
MAX_CHAT_ID = 2**53


class Migrated(Rejected):
    """The group became a supergroup.

    Attributes:
        chat_id: of the supergroup.
    """

    def __init__(self, chat_id: int) -> None:
        super().__init__("the group became a supergroup with another id")
        self.chat_id = chat_id


class NotModified(Rejected):
    """The message has this text already."""


def judge(answer: APIAnswer) -> ClawdbotError | None:
    """Return the error in the body; None leaves it to the status."""
    parameters = answer.data.get("parameters")
    if isinstance(parameters, dict):
        error = _told(parameters)
        if error is not None:
            return error
    description = answer.data.get("description")
    if isinstance(description, str) and "message is not modified" in description.lower():
        return NotModified("the message has this text already")
    if answer.status // 100 == HTTPStatus.OK // 100 and answer.data.get("ok") is not True:
        return _in_success(answer.data.get("error_code"))
    return None


def _told(parameters: Mapping[str, object]) -> ClawdbotError | None:
    wait_s, chat_id = parameters.get("retry_after"), parameters.get("migrate_to_chat_id")
    if type(wait_s) is int:
        return Overloaded(f"{WHO} asks to wait", retry_after_s=min(max(wait_s, 0), LONGEST_WAIT_S))
    if type(chat_id) is int and abs(chat_id) <= MAX_CHAT_ID:
        return Migrated(chat_id)
    return None


def _in_success(code: object) -> ClawdbotError:
    error = error_of_status(WHO, code) if type(code) is int else None
    # Something between us and Telegram answered: nobody knows whether the message was sent.
    return error or AnswerLost(f"{WHO} gave an answer without a result")
