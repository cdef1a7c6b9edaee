"""Updates of the Telegram Bot API by long polling, for a bot that has no webhook.

Telegram keeps the place: an update is confirmed once getUpdates is called with an offset above its
id, and until then, for a day, it comes again. So no offset is stored anywhere. It is named only
while there is something to confirm: after a week without updates the ids begin anew at random, and
an old offset could be above them.

Telegram publishes no client for Python; python-telegram-bot confirms updates that are only in its
queue.

Source: core.telegram.org/bots/api, `getUpdates`, `Update` ("update_id").
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import Any

from clawdbot.gateway.adapters.platforms.api import APIAnswer, APIRequest, PlatformAPI
from clawdbot.gateway.adapters.platforms.interface import Event
from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer
from clawdbot.gateway.adapters.platforms.telegram_errors import judge
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, Rejected, Unavailable

log = logging.getLogger(__name__)

ALLOWED = ("message", "channel_post", "callback_query")
POLL_S = 25
"""How long Telegram holds an answer back while there is nothing to say."""
SLACK_S = 10.0
"""How much later than that it counts as silent."""
MAX_UPDATES = 10
"""At a time. The longest, a message of 4,096 characters that quotes another one and all of whose
characters are escaped, has some 60 kB; the answer may have a megabyte."""
CALL_S = 3.0
_LOST_TOKEN = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})


class Polling:
    """One bot's updates.

    Args:
        api: of the bot, with `judge_poll`.
        root: the path of the bot, which holds its token.
        poll_s: see `POLL_S`.
    """

    def __init__(self, api: PlatformAPI, root: str, poll_s: int = POLL_S) -> None:
        self._api = api
        self._root = root
        self._poll_s = poll_s
        self._offset: int | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[Event]]:
        """See `Connects.connect`; the first poll, which does not wait, tells whether we may."""
        self._offset = None
        events = self._events(await self._poll(0))
        async with aclosing(events):
            yield events

    async def _events(self, updates: list[Any]) -> AsyncGenerator[Event, None]:
        while True:
            for update in updates:
                update_id = _id_of(update)
                payload = json.dumps(update, ensure_ascii=False).encode("utf-8", "replace")
                settle = partial(self._settle, update_id)
                yield Event(payload, settle, settle)
            updates = await self._poll(self._poll_s)

    async def _poll(self, wait_s: int) -> list[Any]:
        fields: dict[str, object] = {
            "timeout": wait_s,
            "limit": MAX_UPDATES,
            "allowed_updates": ALLOWED,
        }
        offset = self._offset
        if offset is not None:
            fields["offset"] = offset
        left_s = wait_s + SLACK_S
        request = APIRequest.of_json(f"{self._root}/getUpdates", fields)
        answer = await self._api.call(request, deadline=Deadline.after(left_s), timeout_s=left_s)
        updates = answer.data.get("result")
        if not isinstance(updates, list):
            raise Unavailable("telegram gave an answer without updates")
        # What was to be confirmed is.
        self._offset = None
        return updates

    async def _settle(self, update_id: int, answer: HTTPAnswer | None = None) -> None:
        self._offset = update_id + 1
        if answer is None or not answer.body:
            return
        # To a webhook's request this call would have been the answer (`setWebhook`).
        call = json.loads(answer.body)
        request = APIRequest.of_json(f"{self._root}/{call.pop('method')}", call)
        try:
            await self._api.call(request, deadline=Deadline.after(CALL_S))
        except ClawdbotError as exc:
            # A button's progress bar ends by itself.
            log.info("update not answered", extra={"code": exc.code})


def judge_poll(answer: APIAnswer) -> ClawdbotError | None:
    """Judge an answer to getUpdates; None leaves it to the status."""
    if answer.status == HTTPStatus.CONFLICT:
        return Unavailable(
            "telegram gives the updates of this bot to somebody else: a webhook or another program",
            fix="call deleteWebhook, or stop the other program",
        )
    if answer.status in _LOST_TOKEN:
        return Rejected("telegram does not know the bot's token", fix="ask @BotFather for it anew")
    return judge(answer)


def _id_of(update: object) -> int:
    found = update.get("update_id") if isinstance(update, dict) else None
    if type(found) is not int:
        raise Unavailable("telegram gave an update without an id")
    return found
