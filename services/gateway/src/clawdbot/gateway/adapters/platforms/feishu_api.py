"""Calls to Feishu's API: one tenant token at a time, and what its error codes mean.

- A token lasts at most two hours; within its last thirty minutes Feishu hands out a new one and
  takes both, so fetching ten minutes early never leaves a gap.
- Errors are `{"code": n}` with n other than 0, under 200 and 400 alike. Rate limits name the
  seconds to wait in `x-ogw-ratelimit-reset`.

Source: Feishu Open Platform, "Get tenant_access_token of a custom app", "Rate limits", "Reply
message", "Generic error codes"; code 11232 is not in them but is sent under load.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping

import httpx

from clawdbot.gateway.adapters.http_errors import retry_after_s
from clawdbot.gateway.adapters.platforms.api import APIAnswer, APIRequest, PlatformAPI
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, Overloaded, Rejected, Unavailable

TOKEN_PATH = "/open-apis/auth/v3/tenant_access_token/internal"  # noqa: S105 -- a path
EARLY_S = 600.0
RATE_LIMITED = frozenset({99991400, 230020, 11232})
STALE_TOKEN = frozenset({99991661, 99991663, 99991671})
"""Missing, invalid, malformed: what a revoked or expired token is called."""
BEING_SENT = 230049
DEFAULT_WAIT_S = 1.0


class StaleToken(Unavailable):
    """The token has to be fetched anew."""


class TenantTokens:
    """Holds the app's token and fetches the next in time, once however many ask for it."""

    def __init__(
        self, api: PlatformAPI, app_id: str, app_secret: str, now: Callable[[], float]
    ) -> None:
        self._api = api
        self._request = APIRequest.of_json(TOKEN_PATH, {"app_id": app_id, "app_secret": app_secret})
        self._now = now
        self._lock = asyncio.Lock()
        self._token = ""
        self._until = 0.0

    async def get(self, *, deadline: Deadline, other_than: str = "") -> str:
        """Return a token that still lasts; not `other_than`, which Feishu refused.

        Raises:
            ClawdbotError: as `PlatformAPI.call`.
        """
        async with self._lock:
            if self._token in ("", other_than) or self._now() >= self._until:
                await self._fetch(deadline)
            return self._token

    async def _fetch(self, deadline: Deadline) -> None:
        answer = await self._api.call(self._request, deadline=deadline)
        token, lasts_s = answer.data.get("tenant_access_token"), answer.data.get("expire")
        if not _is_token(token) or not isinstance(lasts_s, int):
            raise Unavailable("feishu answered without a token")
        self._token = str(token)
        self._until = self._now() + max(lasts_s - EARLY_S, 0.0)


class FeishuAPI:
    """Calls the API as one app.

    Args:
        client: without redirects.
        who: the platform's name, for messages.
        base_url: such as `https://open.feishu.cn`.
        credentials: app id and app secret.
        now: seconds of a clock that never goes back.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        who: str,
        base_url: str,
        credentials: tuple[str, str],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = PlatformAPI(client, who, base_url, judge)
        self._tokens = TenantTokens(self._api, *credentials, now)

    async def call(
        self, method: str, path: str, body: Mapping[str, str], *, deadline: Deadline
    ) -> APIAnswer:
        """Return the answer; a token that Feishu refuses is replaced once.

        Raises:
            ClawdbotError: as `PlatformAPI.call`.
        """
        token = await self._tokens.get(deadline=deadline)
        try:
            return await self._api.call(_request(method, path, body, token), deadline=deadline)
        except StaleToken:
            token = await self._tokens.get(deadline=deadline, other_than=token)
        return await self._api.call(_request(method, path, body, token), deadline=deadline)

    async def authorization(self, *, deadline: Deadline) -> dict[str, str]:
        """Return the header that shows the app's token; raises as `call`."""
        return _authorization(await self._tokens.get(deadline=deadline))


def judge(answer: APIAnswer) -> ClawdbotError | None:
    """Return the error that the answer's `code` stands for; a `Judge`."""
    value = answer.data.get("code")
    code = value if type(value) is int else None
    if code in RATE_LIMITED or answer.status == httpx.codes.TOO_MANY_REQUESTS:
        return Overloaded("feishu asks to wait", retry_after_s=_wait_s(answer.headers))
    if answer.status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return None
    if code is None:
        is_success = httpx.codes.is_success(answer.status)
        return Unavailable("feishu answered without a code") if is_success else None
    if code in STALE_TOKEN:
        return StaleToken(f"feishu refused its token with code {code}")
    if code == BEING_SENT:
        return Unavailable("feishu is still sending the message")
    return Rejected(f"feishu refused the reply with code {code}") if code else None


def _wait_s(headers: httpx.Headers) -> float:
    reset = headers.get("x-ogw-ratelimit-reset", "").partition(".")[0]
    return retry_after_s(reset) or retry_after_s(headers.get("retry-after", "")) or DEFAULT_WAIT_S


def _is_token(value: object) -> bool:
    return isinstance(value, str) and bool(value) and value.isascii() and value.isprintable()


def _request(method: str, path: str, body: Mapping[str, str], token: str) -> APIRequest:
    headers = {"Content-Type": "application/json; charset=utf-8", **_authorization(token)}
    return APIRequest(method, path, json.dumps(body, ensure_ascii=False).encode(), headers)


def _authorization(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
