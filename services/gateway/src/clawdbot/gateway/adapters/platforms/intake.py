"""What an authentic request or event of a platform passes, whichever way it came in.

In this order: meaning, publish, answer. Whoever calls has made sure who speaks.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from clawdbot.gateway.adapters import metrics
from clawdbot.gateway.adapters.body import Gate
from clawdbot.gateway.adapters.platforms.connections import Connection
from clawdbot.gateway.adapters.platforms.interface import FollowsUp, PlatformMessage, Received
from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, Verified
from clawdbot.gateway.adapters.platforms.submissions import submission_of
from clawdbot.gateway.adapters.refusals import BadPayload
from clawdbot.gateway.domain.messages import Accepted, Submission
from clawdbot.gateway.domain.senders import TurnedAway
from clawdbot.gateway.handlers.platforms import Receive
from clawdbot.schema.controls import ControlKind
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, InvalidMessage, Retryable

log = logging.getLogger(__name__)

PLACES = 64
"""Requests of an account that are read, or kept, at a time: its flood leaves the others alone."""
FOLLOW_UP_S = 5.0
"""What an adapter may take at its platform while that waits for an answer."""


@dataclass(frozen=True)
class Intake:
    """Takes what one account is told."""

    connection: Connection
    receive: Receive
    gate: Gate = field(default_factory=lambda: Gate(PLACES))

    async def take(self, verified: Verified) -> HTTPAnswer:
        """Return the platform's answer once everything in `verified` is kept.

        Raises:
            BadPayload: it cannot be read, and the platform is to be told.
            InvalidMessage: a field is missing or wrong, and the platform is to be told.
            Retryable: not everything is kept; to take it again is safe.
        """
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
