"""Knows whether the chat model is ready, for whoever looks at `/readyz`."""

from __future__ import annotations

import asyncio

from clawdbot.runtime.bus import Bus
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError
from clawdbot.schema.inference import MODELS, ModelsReply, ModelsRequest, ModelState

EVERY_S = 5.0
PATIENCE_S = 1.0


class ModelWatch:
    """Asks the inference service now and then, and remembers what is missing.

    Args:
        model: name of the chat model.
    """

    def __init__(self, bus: Bus, model: str) -> None:
        self._bus = bus
        self._model = model
        self._missing: str | None = "the inference service was not asked yet"

    def missing(self) -> str | None:
        """Return why the chat model cannot answer, with the fix, or None when it can."""
        return self._missing

    async def run(self) -> None:
        """Keep asking until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY_S)

    async def look(self) -> None:
        """Ask once."""
        try:
            reply = await self._bus.call(
                MODELS, ModelsRequest(), deadline=Deadline.after(PATIENCE_S)
            )
        except ClawdbotError as exc:
            self._missing = f"the inference service does not answer: {exc.message}"
        else:
            self._missing = missing_from(reply, self._model)


def missing_from(reply: ModelsReply, model: str) -> str | None:
    """Return why `model` is not ready in `reply`, or None when it is."""
    for status in reply.models:
        if status.name == model:
            is_ready = status.state is ModelState.READY
            detail = status.detail or "no reason given"
            return None if is_ready else f"model {model!r} is {status.state.value}: {detail}"
    return f"model {model!r} is unknown to the inference service; see models.default"
