"""Telegram for a bot that polls: gives what is not confirmed, to one reader at a time."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.integration.chat_doubles import Answer, TelegramAPI


class PolledTelegram(TelegramAPI):
    """The Bot API with getUpdates; a new poll ends the one that is under way.

    Attributes:
        waiting: the updates that are not confirmed.
        given: how often each update was given out.
        reader: number of the latest poll.
        forgets: whether confirmations do not arrive, so that updates are given again and again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[dict[str, Any]] = []
        self.given: dict[int, int] = {}
        self.reader = 0
        self.forgets = False

    def write(self, number: int, chat: int, text: str) -> None:
        """Have somebody write to the bot."""
        said = {
            "message_id": number,
            "date": int(time.time()),
            "chat": {"id": chat, "type": "private"},
            "from": {"id": chat, "is_bot": False, "first_name": "Ann"},
            "text": text,
        }
        with self._lock:
            self.waiting.append({"update_id": number, "message": said})

    def _answer(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if not path.endswith("/getUpdates"):
            return super()._answer(path, headers, body)
        fields = json.loads(body)
        with self._lock:
            self.reader += 1
            reader = self.reader
            confirmed = 0 if self.forgets else fields.get("offset", 0)
            self.waiting = [one for one in self.waiting if one["update_id"] >= confirmed]
        give_up_at = time.monotonic() + fields["timeout"]
        while True:
            with self._lock:
                if self.reader != reader:
                    return _conflict()
                updates = self.waiting[: fields["limit"]]
                for update in updates:
                    number = update["update_id"]
                    self.given[number] = self.given.get(number, 0) + 1
            if updates or time.monotonic() >= give_up_at:
                return 200, {"ok": True, "result": updates}
            time.sleep(0.01)


def _conflict() -> Answer:
    description = "Conflict: terminated by other getUpdates request"
    return 409, {"ok": False, "error_code": 409, "description": description}
