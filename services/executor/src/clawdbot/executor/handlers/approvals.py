"""Approvals. Nothing asks for one yet, so nothing ever waits; the answers say so."""

from __future__ import annotations

from clawdbot.executor.handlers.executor import require_working
from clawdbot.executor.ports import Sandbox
from clawdbot.schema.errors import NotFound
from clawdbot.schema.executor import ApprovalsReply, ApprovalsRequest, DecideReply, DecideRequest
from clawdbot.schema.principal import Scope
from clawdbot.schema.rpc import Call


class Approvals:
    """Answers about approvals."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def decide(self, request: DecideRequest, call: Call) -> DecideReply:  # noqa: ARG002 -- no code is valid yet
        """Refuse the decision, because nothing waits for one.

        Raises:
            Forbidden: the principal may not approve.
            NotFound: nothing waits under this code.
            Unavailable: no working sandbox.
        """
        require_working(self._sandbox)
        call.principal.require(Scope.APPROVE)
        raise NotFound("nothing waits for an approval under this code", field="code")

    async def approvals(self, request: ApprovalsRequest, call: Call) -> ApprovalsReply:  # noqa: ARG002 -- it is empty
        """Return what waits for the principal's user: nothing.

        Raises:
            Forbidden: the principal may not approve.
            Unavailable: no working sandbox.
        """
        require_working(self._sandbox)
        call.principal.require(Scope.APPROVE)
        return ApprovalsReply(approvals=())
