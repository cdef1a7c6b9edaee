"""`/webhooks/{platform}` and `/webhooks/{platform}/{account}`: what their requests pass.

In this order: account, method, headers, length, failures of the address, body in time, signature,
window, meaning, publish, answer. Nothing is parsed before it is verified.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from clawdbot.gateway.adapters import metrics
from clawdbot.gateway.adapters.body import BodyLimits, read_body
from clawdbot.gateway.adapters.doorway import vouch
from clawdbot.gateway.adapters.platforms.intake import Intake
from clawdbot.gateway.adapters.platforms.interface import LooksUpKeys
from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest, Verified
from clawdbot.gateway.adapters.problems import problem_response
from clawdbot.gateway.adapters.refusals import BadPayload, MethodNotAllowed
from clawdbot.schema.errors import ClawdbotError, Unauthenticated

log = logging.getLogger(__name__)

MAX_PARAMETERS = 64


@dataclass(frozen=True)
class PlatformEndpoint:
    """Serves one account."""

    intake: Intake
    public_url: str
    limits: BodyLimits
    now: Callable[[], float] = time.time

    async def respond(self, request: Request) -> Response:
        """Return the platform's own answer, else problem details."""
        connection = self.intake.connection
        adapter, channel = connection.adapter, connection.account.channel
        if request.method not in adapter.methods:
            return problem_response(
                MethodNotAllowed("this path does not take this method"),
                headers={"Allow": ", ".join(sorted(adapter.methods))},
            )
        try:
            return _response(await self._answer(request))
        except ClawdbotError as exc:
            metrics.refused.labels(channel, exc.code).inc()
            # Anybody can send what nobody signed, as fast as they like.
            level = logging.DEBUG if isinstance(exc, Unauthenticated) else logging.INFO
            log.log(level, "request refused", extra={"channel": channel, "code": exc.code})
            return problem_response(exc)

    async def _answer(self, request: Request) -> HTTPAnswer:
        return await self.intake.take(await self._verified(request))

    async def _verified(self, request: Request) -> Verified:
        adapter = self.intake.connection.adapter
        raw = _raw(request, self.public_url)
        adapter.admit(raw)
        if isinstance(adapter, LooksUpKeys):
            await adapter.look_up(raw)
        longest = min(self.limits.max_bytes, adapter.limits.body_bytes)
        limits = replace(self.limits, max_bytes=longest).unverified()
        body = await read_body(request, limits, self.intake.gate)
        verified = adapter.verify(replace(raw, body=body), self.now())
        vouch(request.scope)
        return verified


def _raw(request: Request, public_url: str) -> RawRequest:
    query = request.scope["query_string"].decode("latin-1")
    try:
        parameters = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError as exc:
        raise BadPayload("the query has too many parameters") from exc
    path = request.scope["path"]
    return RawRequest(
        method=request.method,
        url=f"{public_url}{path}?{query}" if query else f"{public_url}{path}",
        query=tuple(parameters),
        headers=tuple(request.scope["headers"]),
    )


def _response(answer: HTTPAnswer) -> Response:
    headers = {"Content-Type": answer.content_type, **dict(answer.headers)}
    return Response(answer.body, status_code=answer.status, headers=headers)
