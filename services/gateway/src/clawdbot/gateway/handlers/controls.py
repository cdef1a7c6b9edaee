"""Control words: recognised once it is known who speaks, carried out before they are kept.

Nothing else in the system can answer an approval: only the gateway may ask `executor.decide`, and
only here does a principal get the scope for it.
"""

from __future__ import annotations

import logging

from clawdbot.gateway.domain.messages import Envelope, Submission
from clawdbot.gateway.ports import Decisions, Inbox, StopSignals
from clawdbot.schema.controls import Control, ControlKind, ControlWord, control_of
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, Forbidden, Rejected, Unavailable, to_wire
from clawdbot.schema.executor import Decision
from clawdbot.schema.principal import Scope

log = logging.getLogger(__name__)

_DECISIONS = {ControlKind.APPROVE: Decision.APPROVE, ControlKind.DENY: Decision.DENY}


class Controls:
    """Carries control words out; a `Screen`, the last of them, since what it does stays done.

    Args:
        inbox: tells whether a message was kept before: its word is not carried out again then.
        decisions: where approvals are answered.
        signals: where a stop is heard.
    """

    def __init__(self, inbox: Inbox, decisions: Decisions, signals: StopSignals) -> None:
        self._inbox = inbox
        self._decisions = decisions
        self._signals = signals

    async def __call__(
        self, submission: Submission, envelope: Envelope, *, deadline: Deadline
    ) -> Envelope:
        """Return `envelope` with what came of its control word, if it is one.

        Raises:
            Unavailable: it could not be carried out now; sending the message again is safe.
        """
        message = envelope.message
        word = control_of(message.content)
        if word is None or message.control is not None or message.attachments:
            return envelope
        try:
            control = await self._outcome(word, submission, envelope, deadline)
        except ClawdbotError as exc:
            raise Unavailable(f"the control word was not carried out: {exc.message}") from exc
        kept = message.model_copy(update={"control": control})
        return Envelope(kept, envelope.principal)

    async def _outcome(
        self, word: ControlWord, submission: Submission, envelope: Envelope, deadline: Deadline
    ) -> Control | None:
        message = envelope.message
        known = await self._inbox.find(message.tenant, message.message_id, deadline=deadline)
        if known is not None:
            # A stop that is sent again must not stop what was asked since.
            return known.control
        log.info("control word", extra={"kind": word.kind.value, "channel": message.channel})
        if word.kind is ControlKind.STOP:
            await self._signals.stop(message)
            return Control(kind=word.kind)
        return await self._decided(word, submission, envelope, deadline)

    async def _decided(
        self, word: ControlWord, submission: Submission, envelope: Envelope, deadline: Deadline
    ) -> Control:
        try:
            if Scope.APPROVE not in submission.scopes:
                raise Forbidden("the token does not have the scope 'approve'", field="scopes")
            scopes = frozenset({Scope.APPROVE})
            approval = await self._decisions.decide(
                envelope.principal.model_copy(update={"scopes": scopes}),
                word.code,
                _DECISIONS[word.kind],
                deadline=deadline,
            )
        except Rejected as exc:
            return Control(kind=word.kind, code=word.code, error=to_wire(exc))
        return Control(kind=word.kind, code=word.code, approval=approval)
