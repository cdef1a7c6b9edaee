"""`/webhooks/{platform}` and `/webhooks/{platform}/{account}`: what their requests pass.

In this order: account, method, headers, length, failures of the address, body in time, signature,
window, meaning, publish, answer. Nothing is parsed before it is verified.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from clawdbot.gateway.adapters import metrics
from clawdbot.gateway.adapters.body import BodyLimits, Gate, read_body
from clawdbot.gateway.adapters.doorway import vouch
from clawdbot.gateway.adapters.platforms.connections import Connection
from clawdbot.gateway.adapters.platforms.interface import (
    FollowsUp,
    LooksUpKeys,
    PlatformMessage,
    Received,
)
from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest, Verified
from clawdbot.gateway.adapters.platforms.submissions import submission_of
from clawdbot.gateway.adapters.problems import problem_response
from clawdbot.gateway.adapters.refusals import BadPayload, MethodNotAllowed
from clawdbot.gateway.domain.messages import Accepted, Submission
from clawdbot.gateway.domain.senders import TurnedAway
from clawdbot.gateway.handlers.platforms import Receive
from clawdbot.schema.controls import ControlKind
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, InvalidMessage, Retryable, Unauthenticated

log = logging.getLogger(__name__)

PLACES = 64
"""Requests of an account that are read, or kept, at a time: its flood leaves the others alone."""
MAX_PARAMETERS = 64
FOLLOW_UP_S = 5.0
"""What an adapter may take at its platform while that waits for an answer."""


@dataclass(frozen=True)
class PlatformEndpoint:
    """Serves one account."""

    connection: Connection
    receive: Receive
    public_url: str
    limits: BodyLimits
    now: Callable[[], float] = time.time
    gate: Gate = field(default_factory=lambda: Gate(PLACES))

    async def respond(self, request: Request) -> Response:
        """Return the platform's own answer, else problem details."""
        adapter, channel = self.connection.adapter, self.connection.account.channel
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
        verified = await self._verified(request)
        try:
            received = self._read(verified)
            submissions = self._submissions(received.messages)
        except (BadPayload, InvalidMessage) as exc:
            return self._unreadable(exc)
        try:
            with self.gate.enter():
                is_kept = await self._keep(submissions)
                await self._follow_up(received)
        except Retryable:
            if received.on_failure is None:
                raise
            return received.on_failure
        if not is_kept and received.on_refusal is not None:
            return received.on_refusal
        return received.answer

    async def _verified(self, request: Request) -> Verified:
        adapter = self.connection.adapter
        raw = _raw(request, self.public_url)
        adapter.admit(raw)
        if isinstance(adapter, LooksUpKeys):
            await adapter.look_up(raw)
        longest = min(self.limits.max_bytes, adapter.limits.body_bytes)
        limits = replace(self.limits, max_bytes=longest).unverified()
        body = await read_body(request, limits, self.gate)
        verified = adapter.verify(replace(raw, body=body), self.now())
        vouch(request.scope)
        return verified

    def _read(self, verified: Verified) -> Received:
        try:
            return self.connection.adapter.read(verified)
        except ValidationError as exc:
            raise InvalidMessage("the message cannot be understood") from exc

    def _submissions(self, messages: Sequence[PlatformMessage]) -> list[Submission]:
        account = self.connection.account
        if len(messages) == 1:
            return [submission_of(account, messages[0])]
        found: list[Submission] = []
        for message in messages:
            try:
                found.append(submission_of(account, message))
            except InvalidMessage as exc:
                # One bad message must not lose the batch that it came in.
                metrics.refused.labels(account.channel, exc.code).inc()
        return found

    async def _keep(self, submissions: Sequence[Submission]) -> bool:
        """Return whether anything was kept, or nothing was to be."""
        channel = self.connection.account.channel
        deadline = Deadline.after(self.connection.adapter.limits.ack_s)
        results = await self.receive(submissions, deadline=deadline)
        for result in results:
            if isinstance(result, TurnedAway):
                metrics.refused.labels(channel, result.code).inc()
            else:
                metrics.accepted.labels(channel, _outcome(result)).inc()
        if not submissions:
            metrics.accepted.labels(channel, "ignored").inc()
        return not results or any(isinstance(result, Accepted) for result in results)

    async def _follow_up(self, received: Received) -> None:
        adapter = self.connection.adapter
        if received.follow_up is None or not isinstance(adapter, FollowsUp):
            return
        try:
            await adapter.follow_up(received.follow_up, deadline=Deadline.after(FOLLOW_UP_S))
        except ClawdbotError as exc:
            # Asked again, the platform would send all of the request again, and wait with others.
            channel = self.connection.account.channel
            log.warning("could not follow up", extra={"channel": channel, "code": exc.code})

    def _unreadable(self, error: ClawdbotError) -> HTTPAnswer:
        answer = self.connection.adapter.unreadable
        if answer is None:
            raise error
        channel = self.connection.account.channel
        metrics.refused.labels(channel, error.code).inc()
        log.warning("message not understood", extra={"channel": channel, "code": error.code})
        return answer


def _outcome(accepted: Accepted) -> str:
    if not accepted.is_new:
        return "repeated"
    control = accepted.message.control
    return "unpaired" if control and control.kind is ControlKind.PAIR else "accepted"


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
