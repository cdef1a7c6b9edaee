"""The bus as the `clawdbot` command sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from clawdbot.runtime.bus import Bus
from clawdbot.runtime.config import Config
from clawdbot.runtime.connection import connected
from clawdbot.runtime.secrets import Secrets
from clawdbot.schema.permissions import OPERATOR

PATIENCE_S = 5.0
"""Somebody waits before the terminal; a broker that is there answers at once."""


@asynccontextmanager
async def operator_bus(config: Config, secrets: Secrets) -> AsyncIterator[Bus]:
    """Connect with the operator's permissions.

    Raises:
        Unavailable: the broker cannot be reached.
    """
    async with connected(OPERATOR, config, secrets, within_s=PATIENCE_S) as client:
        yield Bus(client, OPERATOR)
