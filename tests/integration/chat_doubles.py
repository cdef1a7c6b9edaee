"""Doubles of Telegram's and Slack's API that show what people see, and refuse what they refuse."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from typing import Any

from tests.integration.system import Loopback

Answer = tuple[int, Any]


class ChatAPI(Loopback):
    """What both have: chats with messages, and moments at which answers are held back.

    Attributes:
        chats: the texts that people see, by chat and message.
        sends: how many requests sent a message, by chat; a repeated key counts too.
        edits: the texts that a message went through, by message.
        held: chats whose sends take effect but are not answered while they are in it.
        reached: set once a send waits in `held`.
    """

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.chats: dict[str, dict[str, str]] = defaultdict(dict)
        self.sends: dict[str, int] = defaultdict(int)
        self.edits: dict[str, list[str]] = defaultdict(list)
        self.typed = 0
        self.held: set[str] = set()
        self.reached = threading.Event()
        self._next = 100
        self._lock = threading.Lock()

    def texts(self, chat: str) -> list[str]:
        return list(self.chats[chat].values())

    def _answer(self, path: str, _: dict[str, str], body: bytes) -> Answer:
        fields = json.loads(body)
        chat, is_send = str(fields.get("chat_id", fields.get("channel"))), path.endswith(self.SEND)
        with self._lock:
            self.sends[chat] += is_send
            answer = self._done(path.rpartition("/")[2], chat, fields)
        if is_send and chat in self.held:
            self.reached.set()
            while chat in self.held:
                time.sleep(0.01)
        return answer

    def _shown(self, chat: str, text: str) -> str:
        self._next += 1
        self.chats[chat][str(self._next)] = text
        return str(self._next)

    SEND = ""

    def _done(self, method: str, chat: str, fields: dict[str, Any]) -> Answer:
        raise NotImplementedError


class TelegramAPI(ChatAPI):
    """The Bot API: no keys, 4,096 UTF-16 units, errors in the body."""

    SEND = "/sendMessage"

    def _done(self, method: str, chat: str, fields: dict[str, Any]) -> Answer:
        if method == "sendChatAction":
            self.typed += 1
            return 200, {"ok": True, "result": True}
        text = fields["text"]
        if not text.strip() or len(text.encode("utf-16-le")) > 2 * 4096:
            return _failed("Bad Request: message is too long")
        if method == "sendMessage":
            return 200, {"ok": True, "result": {"message_id": int(self._shown(chat, text))}}
        sent_id = str(fields["message_id"])
        if sent_id not in self.chats[chat]:
            return _failed("Bad Request: message to edit not found")
        if self.chats[chat][sent_id] == text:
            return _failed("Bad Request: message is not modified")
        self.edits[sent_id].append(text)
        self.chats[chat][sent_id] = text
        return 200, {"ok": True, "result": {"message_id": int(sent_id)}}


class SlackAPI(ChatAPI):
    """The Web API: shows each `client_msg_id` once, errors under HTTP 200."""

    SEND = "/chat.postMessage"

    def __init__(self) -> None:
        super().__init__()
        self._keys: dict[str, str] = {}

    def _done(self, method: str, chat: str, fields: dict[str, Any]) -> Answer:
        if len(fields["text"]) > 40_000:
            return 200, {"ok": False, "error": "msg_too_long"}
        if method == "chat.postMessage":
            key = fields["client_msg_id"]
            if key not in self._keys:
                self._keys[key] = self._shown(chat, fields["text"])
            return 200, {"ok": True, "channel": chat, "ts": self._keys[key]}
        if fields["ts"] not in self.chats[chat]:
            return 200, {"ok": False, "error": "message_not_found"}
        self.edits[fields["ts"]].append(fields["text"])
        self.chats[chat][fields["ts"]] = fields["text"]
        return 200, {"ok": True, "channel": chat, "ts": fields["ts"]}


def _failed(description: str) -> Answer:
    return 400, {"ok": False, "error_code": 400, "description": description}
