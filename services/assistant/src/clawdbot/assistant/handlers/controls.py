"""Answering what was said to the system itself: the gateway carried it out already."""

from __future__ import annotations

from clawdbot.assistant.domain.answer import Answer
from clawdbot.assistant.domain.turn import Turn
from clawdbot.assistant.handlers.stopping import Stops
from clawdbot.schema.controls import Control, ControlKind


class Controls:
    """Answers control words with our own sentences; asks no model and remembers nothing."""

    def __init__(self, stops: Stops) -> None:
        self._stops = stops

    def answer(self, turn: Turn, control: Control) -> Answer:
        """Return what came of `control`."""
        is_stop = control.kind is ControlKind.STOP
        if is_stop and self._stops.has_ended_a_turn(turn.message) is False:
            return Answer.nothing_ran(turn)
        return Answer.to_control(turn, control)
