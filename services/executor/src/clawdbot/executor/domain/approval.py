"""One question to a person, and what their answer makes of it: a state machine without a clock."""

from __future__ import annotations

import secrets

from pydantic import JsonValue

from clawdbot.schema.errors import (
    ApprovalDenied,
    ApprovalExpired,
    ApprovalRequired,
    Conflict,
)
from clawdbot.schema.executor import Approval, ApprovalState, Decision
from clawdbot.schema.wire import Wire

CODE_CHARS = 10
"""Of five bits each: nobody finds one of 2^50 codes, least of all within the wrong ones allowed."""
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no two of them look alike."""
_ENDS_BY_ITSELF = (ApprovalState.PENDING, ApprovalState.APPROVED)


def new_code() -> str:
    """Return a code that nobody can guess and everybody can type."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(CODE_CHARS))


class ApprovalRecord(Wire):
    """What is asked of whom, as the executor keeps it: bound to one operation, plan and user."""

    SCHEMA = "executor_approval/1"

    code: str
    tenant: str
    user: str
    conversation: str
    channel: str
    operation_id: str
    plan_hash: str
    instruction: str
    arguments: dict[str, JsonValue]
    rendered: str
    state: ApprovalState = ApprovalState.PENDING
    expires_at_ms: int

    def at(self, now_ms: int) -> ApprovalRecord:
        """Return it as it stands at `now_ms`: expired when its time is over."""
        if self.state in _ENDS_BY_ITSELF and now_ms >= self.expires_at_ms:
            return self.model_copy(update={"state": ApprovalState.EXPIRED})
        return self

    def decided(self, decision: Decision, now_ms: int, use_ms: int) -> ApprovalRecord:
        """Return it after a person's answer; the same answer again changes nothing.

        Args:
            decision: what they said.
            now_ms: Unix milliseconds.
            use_ms: how long an approved plan may take to begin.

        Raises:
            ApprovalExpired: they came too late.
            ApprovalDenied: it was denied before.
            Conflict: it was approved before.
        """
        state = self.at(now_ms).state
        if state is ApprovalState.EXPIRED:
            raise ApprovalExpired("nobody answered in time", fix="ask for it again")
        is_yes = decision is Decision.APPROVE
        if state is ApprovalState.PENDING:
            if not is_yes:
                return self.model_copy(update={"state": ApprovalState.DENIED})
            approved = {"state": ApprovalState.APPROVED, "expires_at_ms": now_ms + use_ms}
            return self.model_copy(update=approved)
        if is_yes and state is ApprovalState.DENIED:
            raise ApprovalDenied("this was denied already", fix="ask for it again")
        if not is_yes and state is not ApprovalState.DENIED:
            raise Conflict("this was approved already", field="decision")
        return self

    def used(self, plan_hash: str, now_ms: int) -> ApprovalRecord:
        """Return it after its operation began to run; the same operation may ask again.

        Raises:
            ApprovalRequired: nobody answered yet, or another plan was approved.
            ApprovalDenied: a person said no.
            ApprovalExpired: nobody answered in time, or the plan did not begin in time.
        """
        match self.at(now_ms).state:
            case _ if plan_hash != self.plan_hash:
                raise ApprovalRequired("another plan was shown to a person than this one")
            case ApprovalState.PENDING:
                raise ApprovalRequired("this waits for a person's approval")
            case ApprovalState.DENIED:
                raise ApprovalDenied("a person denied this")
            case ApprovalState.EXPIRED:
                raise ApprovalExpired("this was not approved and begun in time")
            case ApprovalState.APPROVED:
                return self.model_copy(update={"state": ApprovalState.USED})
            case ApprovalState.USED:
                return self

    def shown(self) -> Approval:
        """Return what others may know of it."""
        return Approval(
            code=self.code,
            plan_hash=self.plan_hash,
            rendered=self.rendered,
            state=self.state,
            expires_at_ms=self.expires_at_ms,
            operation_id=self.operation_id,
            instruction=self.instruction,
            arguments=self.arguments,
        )
