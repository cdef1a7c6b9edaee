"""What is published on the bus besides rpc: addresses, message types, headers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clawdbot.schema import (
    deeds,
    deliveries,
    edge,
    executor,
    memory,
    messages,
    streams,
    subjects,
    tokens,
)
from clawdbot.schema.streams import Stream
from clawdbot.schema.wire import Wire
from scripts.reference.sources import summary

Builder = Callable[..., str]


@dataclass(frozen=True)
class Topic:
    """An address with what is published there."""

    name: str
    builder: Builder
    """The function of `clawdbot.schema.subjects` that makes the address."""
    messages: tuple[type[Wire], ...]
    stream: Stream | None = None
    """What keeps it; None for what only reaches who listens at that moment."""

    @property
    def address(self) -> str:
        """The address, with `{...}` where a token varies."""
        return address(self.builder)

    @property
    def about(self) -> str:
        """What is published there, in a sentence."""
        text = summary(self.builder).removeprefix("Return ")
        return text[:1].upper() + text[1:]


def address(builder: Builder, *fixed: str, **given: str | None) -> str:
    """Return what `builder` makes of placeholders, for whatever argument is not given."""
    names = list(inspect.signature(builder).parameters)[len(fixed) :]
    # No token of ours begins with a line, so that it marks the placeholders.
    rest: dict[str, Any] = {name: given.get(name, f"_{name}") for name in names}
    made = builder(*fixed, **rest).split(".")
    return ".".join(f"{{{token[1:]}}}" if token.startswith("_") else token for token in made)


TOPICS = (
    Topic("inbound", subjects.inbound, (messages.InboundMessage,), streams.INBOUND),
    Topic("turn", subjects.turn, (messages.TurnStep,), streams.TURNS),
    Topic("outbound", subjects.outbound, (messages.OutboundMessage,), streams.OUTBOUND),
    Topic("dead", subjects.dead, (messages.DeadLetter,), streams.DEADLETTER),
    Topic("audit", subjects.audit, (executor.AuditRecord,), streams.AUDIT),
    Topic("operator-deed", subjects.operator_deed, (deeds.OperatorDeed,), streams.AUDIT),
    Topic("memory-change", subjects.memory_change, (memory.MemoryChanged,), streams.MEMORY_CHANGES),
    Topic("deltas", subjects.deltas, (messages.Delta, messages.DeltaEnd)),
    Topic("signal", subjects.signal, (messages.Signal,)),
    Topic("call", subjects.call, (messages.CallSignal,)),
    Topic("edge-counts", subjects.edge_counts, (edge.EdgeCounts,)),
)
RECORDS: tuple[type[Wire], ...] = (deliveries.ReplyDelivery, tokens.TokenRecord)
"""What is kept in buckets and sent to nobody."""
PARAMETERS = {
    "call_id": "Names a streamed call, as its `Claw-Call` header does.",
    "channel": "The platform account, such as `webhook`.",
    "consumer": "The durable consumer that gave up.",
    "conversation": "Keyed hash; of ours, never what a platform sent.",
    "deed": "`redrive` or `drop`.",
    "message": "Keyed hash of the platform's event id.",
    "model": "Name of the model, as `models.default` and `models.embedding` have it.",
    "number": "Hash that tells one deed from another.",
    "operation": "What the record is about.",
    "part": "Number of the part of a reply, from 0.",
    "reason": "Code of the error.",
    "service": "Who answers the call.",
    "shard": f"0 to {subjects.MEMORY_SHARDS - 1}.",
    "skill": "Name of the skill.",
    "step": "Number of the step of a turn, from 0.",
    "stream": "The stream that it came from.",
    "tenant": "Whose data it is.",
}
"""What the placeholders of addresses mean."""
