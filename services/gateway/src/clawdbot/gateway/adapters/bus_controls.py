"""Control words on the bus: decisions for the executor, stops for whoever holds the turn."""

from __future__ import annotations

from clawdbot.runtime.bus import Bus
from clawdbot.schema import subjects
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.executor import DECIDE, Approval, DecideRequest, Decision
from clawdbot.schema.messages import InboundMessage, Signal, SignalKind
from clawdbot.schema.principal import Principal, PrincipalSigner

DECISION_TTL_S = 60
"""How long a principal with the scope to approve is believed: for one call, and no more."""


class BusDecisions:
    """`Decisions` of the executor.

    Args:
        signer: whose tokens end after `DECISION_TTL_S`, since they are for one call each.
    """

    def __init__(self, bus: Bus, signer: PrincipalSigner) -> None:
        self._bus = bus
        self._signer = signer

    async def decide(
        self, principal: Principal, code: str, decision: Decision, *, deadline: Deadline
    ) -> Approval:
        """Return the approval after the answer."""
        request = DecideRequest(code=code, decision=decision)
        reply = await self._bus.call(
            DECIDE, request, deadline=deadline, principal=self._signer.sign(principal)
        )
        return reply.approval


class BusStopSignals:
    """`StopSignals` to every replica of the assistant."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def stop(self, said: InboundMessage) -> None:
        """Broadcast that what was asked before `said` is not wanted any more."""
        signal = Signal(
            kind=SignalKind.STOP,
            conversation_id=said.conversation_id,
            at_ms=said.accepted_at_ms,
        )
        await self._bus.broadcast(subjects.signal(said.conversation_id), signal)
