"""Calls to a platform's API: bounded in time and size, each failure one of our errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from clawdbot.gateway.adapters.http_errors import error_of_status
from clawdbot.gateway.domain.deliveries import AnswerLost
from clawdbot.runtime.telemetry import SpanKind, span
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, Unavailable

MAX_ANSWER_BYTES = 1_048_576
TIMEOUT_S = 10.0
NOT_SENT = (
    httpx.InvalidURL,
    httpx.UnsupportedProtocol,
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
)
"""Failures before the platform saw anything of a request."""


@dataclass(frozen=True)
class APIAnswer:
    """What a platform's API answered."""

    status: int
    headers: httpx.Headers = field(repr=False)
    data: Mapping[str, Any] = field(repr=False)
    """The JSON object in the body; empty when it holds anything else."""


Judge = Callable[[APIAnswer], ClawdbotError | None]
"""Finds errors that a platform reports in the body, whatever the status; None if there is none."""


def no_error_in_body(answer: APIAnswer) -> ClawdbotError | None:  # noqa: ARG001 -- a `Judge`
    """Leave it to the status."""
    return None


class PlatformAPI:
    """Posts to one platform.

    Args:
        client: without redirects.
        who: the platform's name, for messages.
        base_url: operator's choice, so that a test double can stand in.
        judge: asked first; what it does not object to is judged by status and `Retry-After`.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        who: str,
        base_url: str,
        judge: Judge = no_error_in_body,
    ) -> None:
        self._client = client
        self._who = who
        self._base_url = base_url.rstrip("/")
        self._judge = judge

    async def call(
        self, request: APIRequest, *, deadline: Deadline, timeout_s: float = TIMEOUT_S
    ) -> APIAnswer:
        """Return the answer to `request`, sent once.

        Raises:
            Overloaded: the platform asks to wait.
            AnswerLost: it was reached, and nobody knows what it did.
            Unavailable: it cannot be reached or failed.
            Rejected: it refused for good.
            DeadlineExceeded: there was no time left.
        """
        left_s = deadline.within(timeout_s).require()
        # The path stays out of the span: it may hold a token.
        with span(f"{request.method} {self._who}", kind=SpanKind.CLIENT):
            answer = await self._exchange(request, left_s)
        wait = answer.headers.get("retry-after", "")
        error = self._judge(answer) or error_of_status(self._who, answer.status, wait)
        if error is not None:
            raise error
        return answer

    async def _exchange(self, request: APIRequest, timeout_s: float) -> APIAnswer:
        url = request.url or self._base_url + request.path
        # What is not compressed cannot grow when it is read.
        headers = {"Accept-Encoding": "identity", **request.headers}
        try:
            # The client's own time-outs are for each read: an answer that drips has none.
            async with (
                asyncio.timeout(timeout_s),
                self._client.stream(
                    request.method, url, content=request.content, headers=headers, timeout=timeout_s
                ) as response,
            ):
                return APIAnswer(response.status_code, response.headers, await _object(response))
        # Without text and cause: they may name the address, and that a token.
        except NOT_SENT as exc:
            failure = Unavailable(f"{self._who} is not reachable: {type(exc).__name__}")
        except (httpx.HTTPError, TimeoutError) as exc:
            failure = AnswerLost(f"{self._who} did not answer: {type(exc).__name__}")
        raise failure


@dataclass(frozen=True)
class APIRequest:
    """A call to a platform's API."""

    method: str
    path: str = field(repr=False)
    """Below the base URL, with its slash."""
    content: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    url: str = field(default="", repr=False)
    """Used instead of base URL and path: an address that the operator configured."""

    @classmethod
    def of_json(
        cls, path: str, value: object, headers: Mapping[str, str] | None = None
    ) -> APIRequest:
        """Return a POST of `value`."""
        return cls(
            "POST",
            path,
            json.dumps(value, ensure_ascii=False).encode(),
            {"Content-Type": "application/json; charset=utf-8", **(headers or {})},
        )


async def _object(response: httpx.Response) -> Mapping[str, Any]:
    received = bytearray()
    async for chunk in response.aiter_bytes():
        received += chunk
        if len(received) > MAX_ANSWER_BYTES:
            return {}
    try:
        value = json.loads(received)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
