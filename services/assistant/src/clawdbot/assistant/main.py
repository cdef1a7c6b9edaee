"""The assistant's story: what is opened, in which order, and what it is made of."""

from __future__ import annotations

import time
from importlib.resources import files

from clawdbot.assistant.adapters.deltas import BusDeltas
from clawdbot.assistant.adapters.executor_client import ExecutorClient
from clawdbot.assistant.adapters.files_client import FilesClient
from clawdbot.assistant.adapters.memory_client import MemoryClient
from clawdbot.assistant.adapters.metrics import MeasuredTurns
from clawdbot.assistant.adapters.model_client import ModelClient
from clawdbot.assistant.adapters.outbox import BusOutbox
from clawdbot.assistant.adapters.stop_signals import StopSignals
from clawdbot.assistant.domain import wording
from clawdbot.assistant.domain.language import Language
from clawdbot.assistant.domain.limits import Limits
from clawdbot.assistant.domain.prompt import Persona
from clawdbot.assistant.handlers.stopping import Stops
from clawdbot.assistant.handlers.turns import Turns
from clawdbot.assistant.ports import Ports
from clawdbot.assistant.settings import Settings
from clawdbot.runtime.bus import Bus
from clawdbot.runtime.config import Config
from clawdbot.runtime.journal import Journal
from clawdbot.runtime.service import Runtime, main
from clawdbot.runtime.telemetry import current_trace_id
from clawdbot.schema.messages import InboundMessage
from clawdbot.schema.streams import INBOUND, TURN_WORKER


async def run(config: Config) -> None:
    """Answer messages until told to stop."""
    settings = Settings.of(config)
    async with Runtime.open("assistant", config) as runtime:
        ports = over_bus(runtime.bus, settings.model)
        stops = Stops()
        turns = MeasuredTurns(Turns(ports, personas(), limits(settings), stops))
        signals = StopSignals(runtime.bus, stops)
        runtime.spawn(signals.run(), name="stop-signals")
        await signals.is_listening.wait()
        await runtime.consume(
            INBOUND, TURN_WORKER, InboundMessage, turns, concurrency=settings.turn.concurrency
        )
        await runtime.until_stopped()


def over_bus(bus: Bus, model: str) -> Ports:
    """Return the ports that lead to the other services."""
    return Ports(
        memory=MemoryClient(bus),
        model=ModelClient(bus, model),
        executor=ExecutorClient(bus),
        files=FilesClient(bus),
        journal=Journal(bus),
        outbox=BusOutbox(bus),
        deltas=BusDeltas(bus),
        now_ms=lambda: time.time_ns() // 1_000_000,
        trace_id=current_trace_id,
    )


def limits(settings: Settings) -> Limits:
    """Return how much a turn may take."""
    turn = settings.turn
    return Limits(
        context_length=settings.context_length,
        max_tokens=turn.max_tokens,
        recall_limit=turn.recall_limit,
        history_lines=turn.history_lines,
        think_timeout_s=turn.think_timeout_s,
        call_timeout_s=turn.call_timeout_s,
    )


def personas() -> dict[Language, Persona]:
    """Return who the model is told to be, from the texts that ship with the package."""
    package = files("clawdbot.assistant")
    texts = {
        language: package.joinpath(f"persona.{language.value}.txt").read_text(encoding="utf-8")
        for language in Language
    }
    return {
        language: Persona(text.strip(), wording.told_before(language))
        for language, text in texts.items()
    }


def cli() -> None:
    """Run the service as a process."""
    main("assistant", run)


if __name__ == "__main__":
    cli()
