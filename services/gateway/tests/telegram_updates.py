"""A double of getUpdates: gives what is not confirmed, holds answers back, and refuses a second
reader."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx

CONFLICT = "Conflict: terminated by other getUpdates request"


class Updates:
    """One bot's updates, as an `httpx` transport's handler.

    Attributes:
        waiting: those that are not confirmed.
        polls: what each getUpdates named.
        calls: methods beside getUpdates, with their fields.
        failures: answers that come first.
    """

    def __init__(self) -> None:
        self.waiting: list[dict[str, Any]] = []
        self.polls: list[dict[str, Any]] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.failures: list[httpx.Response | Exception] = []
        self._news = asyncio.Event()

    def say(self, *updates: dict[str, Any]) -> None:
        self.waiting.extend(updates)
        self._news.set()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        fields = json.loads(request.content)
        method = request.url.path.rpartition("/")[2]
        if method != "getUpdates":
            self.calls.append((method, fields))
            return httpx.Response(200, json={"ok": True, "result": True})
        self.polls.append(fields)
        if self.failures:
            failure = self.failures.pop(0)
            if isinstance(failure, Exception):
                raise failure
            return failure
        return httpx.Response(200, json={"ok": True, "result": await self._updates(fields)})

    async def _updates(self, fields: dict[str, Any]) -> list[dict[str, Any]]:
        if "offset" in fields:
            self.waiting = [one for one in self.waiting if one["update_id"] >= fields["offset"]]
        if not self.waiting and fields["timeout"]:
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), fields["timeout"])
            except TimeoutError:
                return []
        return self.waiting[: fields["limit"]]


def failed(status: int, description: str, **parameters: object) -> httpx.Response:
    told = {"ok": False, "error_code": status, "description": description}
    return httpx.Response(status, json={**told, "parameters": parameters} if parameters else told)
