"""What Prometheus is told about turns."""

from __future__ import annotations

import asyncio
import time

from prometheus_client import Counter, Histogram

from clawdbot.assistant.ports import TurnHandler
from clawdbot.schema.delivery import Delivery
from clawdbot.schema.errors import ClawdbotError, ErrorReply, Internal
from clawdbot.schema.messages import InboundMessage

ANSWERED = "answered"
CANCELLED = "cancelled"
GIVEN_UP = "given_up"

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)

turns_total = Counter(
    "clawdbot_assistant_turns_total",
    "Attempts at a turn: answered, cancelled, or the error's code; given_up counts turns",
    ["outcome"],
)
turn_seconds = Histogram(
    "clawdbot_assistant_turn_seconds", "One attempt at a turn", buckets=_SECONDS
)
first_token_seconds = Histogram(
    "clawdbot_assistant_first_token_seconds",
    "From asking the model until its first characters",
    buckets=_SECONDS,
)


class MeasuredTurns:
    """Counts and times what another handler does."""

    def __init__(self, turns: TurnHandler) -> None:
        self._turns = turns

    async def handle(self, delivery: Delivery[InboundMessage]) -> None:
        """Pass the message on; count how that went."""
        started = time.monotonic()
        # What is no error of our tree is a bug, and counted as one.
        outcome = Internal.code
        try:
            await self._turns.handle(delivery)
            outcome = ANSWERED
        except ClawdbotError as exc:
            outcome = exc.code
            raise
        except asyncio.CancelledError:
            outcome = CANCELLED
            raise
        finally:
            turns_total.labels(outcome).inc()
            turn_seconds.observe(time.monotonic() - started)

    async def given_up(self, delivery: Delivery[InboundMessage], error: ErrorReply) -> None:
        """Pass the news on; count it."""
        turns_total.labels(GIVEN_UP).inc()
        await self._turns.given_up(delivery, error)
