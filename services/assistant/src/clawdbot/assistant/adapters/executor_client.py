"""The executor, over the bus."""

from __future__ import annotations

from clawdbot.assistant.domain.turn import Mandate
from clawdbot.runtime.bus import Bus
from clawdbot.schema.executor import (
    CANCEL,
    PLAN,
    RUN,
    CancelReply,
    CancelRequest,
    PlanReply,
    PlanRequest,
    RunReply,
    RunRequest,
)


class ExecutorClient:
    """Implements `ports.Executor`."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def plan(self, request: PlanRequest, mandate: Mandate) -> PlanReply:
        """Return what would be run."""
        return await self._bus.call(
            PLAN, request, deadline=mandate.deadline, principal=mandate.principal
        )

    async def run(self, request: RunRequest, mandate: Mandate) -> RunReply:
        """Return what came of the planned operation; the same for every repetition."""
        return await self._bus.call(
            RUN, request, deadline=mandate.deadline, principal=mandate.principal
        )

    async def cancel(self, request: CancelRequest, mandate: Mandate) -> CancelReply:
        """End the operation if it runs on the replica that hears it."""
        return await self._bus.call(
            CANCEL, request, deadline=mandate.deadline, principal=mandate.principal
        )
