"""What gateway replicas tell each other about how much came to them."""

from __future__ import annotations

from pydantic import Field

from clawdbot.schema.wire import Wire

MAX_COUNTS = 2048
"""Counts in one report; what is over waits for the next."""


class EdgeCount(Wire):
    """How much one replica counted under one key."""

    SCHEMA = "edge_count/1"

    kind: str = Field(min_length=1, max_length=32)
    """What is limited, such as `sender`."""
    key: str = Field(min_length=1, max_length=256)
    """Keyed hash of a sender, conversation or address; the name of a tenant or channel."""
    count: int = Field(ge=1, le=1_000_000_000)
    """Since this replica told of the key last."""


class EdgeCounts(Wire):
    """One replica's report of a second; without counts it says that the replica is there."""

    SCHEMA = "edge_counts/1"

    replica: str = Field(min_length=1, max_length=64)
    """Names the sending process, which hears its own reports too."""
    counts: tuple[EdgeCount, ...] = Field(default=(), max_length=MAX_COUNTS)
    """Keys that used more than a share of their limit."""
