"""An rpc that costs nothing, so that what is measured is the way there and back."""

from __future__ import annotations

from clawdbot.schema import subjects
from clawdbot.schema.inference import SERVICE
from clawdbot.schema.rpc import Rpc
from clawdbot.schema.wire import Wire


class Echo(Wire):
    """Comes back as it was sent."""

    SCHEMA = "bench_echo/1"

    text: str


# The broker lets services ask and answer nothing else than they do in earnest, so the echo poses
# as counting tokens, of two models that nobody has.
ECHO = Rpc(SERVICE, "count", Echo, Echo)
MODEL = "bench-echo"
RAW_SUBJECT = subjects.rpc(SERVICE, "count", "bench-raw")
"""Answered by nats-py alone, with the bytes that came."""
TEXT = "x" * 1000
