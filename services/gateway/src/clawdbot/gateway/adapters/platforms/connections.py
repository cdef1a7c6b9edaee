"""Adapters of the configured accounts, each with its own connections to the platform."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from clawdbot.gateway.adapters import metrics
from clawdbot.gateway.adapters.platforms.addresses import SealedAddresses
from clawdbot.gateway.adapters.platforms.interface import Account, Platform, PlatformAdapter
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.runtime.config import ConfigError
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError

MAX_CONNECTIONS = 20
"""To one platform at a time; their own limits are lower."""


@dataclass(frozen=True)
class Connection:
    """An account and who speaks with it."""

    account: Account[Any]
    adapter: PlatformAdapter


@asynccontextmanager
async def connect(account: Account[Any], platform: Platform[Any]) -> AsyncIterator[Connection]:
    """Hold the account's HTTP connections while the context lasts.

    Raises:
        ConfigError: the adapter cannot work with its settings or secrets.
    """
    limits = httpx.Limits(max_connections=MAX_CONNECTIONS)
    # No redirects and no proxies from the environment: credentials go where they were meant to.
    async with httpx.AsyncClient(follow_redirects=False, trust_env=False, limits=limits) as client:
        try:
            adapter = platform.build(account, client)
        except ValueError as exc:
            where = f"platforms.{account.platform}.accounts.{account.name}"
            raise ConfigError(f"{where} cannot be used: {exc}") from exc
        yield Connection(account, adapter)


class PlatformSender:
    """A `Sender` to one account."""

    def __init__(self, connection: Connection, addresses: SealedAddresses) -> None:
        self._connection = connection
        self._addresses = addresses

    async def send(self, part: ReplyPart, *, deadline: Deadline) -> None:
        """Send `part` to the address that came with the message it answers."""
        channel = self._connection.account.channel
        try:
            address = self._addresses.open(part.reply)
            await self._connection.adapter.send(part, address, deadline=deadline)
        except ClawdbotError as exc:
            metrics.sent.labels(channel, exc.code).inc()
            raise
        metrics.sent.labels(channel, "sent").inc()
