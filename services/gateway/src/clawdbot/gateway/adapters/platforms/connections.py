"""Adapters of the configured accounts, each with its own connections to the platform."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import httpx

from clawdbot.gateway.adapters import metrics
from clawdbot.gateway.adapters.platforms.addresses import SealedAddresses
from clawdbot.gateway.adapters.platforms.interface import (
    Account,
    Address,
    Editing,
    Keyed,
    Platform,
    PlatformAdapter,
    ServesBelow,
    ShowsTyping,
)
from clawdbot.gateway.adapters.platforms.registry import paths
from clawdbot.gateway.domain.deliveries import SendTraits
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.runtime.config import ConfigError
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, Rejected

MAX_CONNECTIONS = 20
"""To one platform at a time; their own limits are lower."""


@dataclass(frozen=True)
class Connection:
    """An account and who speaks with it."""

    account: Account[Any]
    adapter: PlatformAdapter

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths that reach the account, as routes are written."""
        own = paths(self.account)
        below = self.adapter.subpaths if isinstance(self.adapter, ServesBelow) else ()
        return own + tuple(f"{path}{subpath}" for path in own for subpath in below)


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

    def traits(self, part: ReplyPart) -> SendTraits:
        """Return what the adapter promises."""
        adapter = self._connection.adapter
        try:
            address = self._address(part)
            if not hasattr(adapter, "traits"):
                return SendTraits(edits=adapter.capabilities.edits)
            return cast("Keyed", adapter).traits(part, address)
        except Rejected:
            return SendTraits()

    async def send(self, part: ReplyPart, *, deadline: Deadline) -> str | None:
        """Send `part` to the address that came with the message it answers."""
        channel = self._connection.account.channel
        try:
            adapter = self._connection.adapter
            sent_id = await adapter.send(part, self._address(part), deadline=deadline)
        except ClawdbotError as exc:
            metrics.sent.labels(channel, exc.code).inc()
            raise
        metrics.sent.labels(channel, "sent").inc()
        return sent_id

    async def edit(self, sent_id: str, part: ReplyPart, *, deadline: Deadline) -> None:
        """Edit what was sent there."""
        if not self._connection.adapter.capabilities.edits:
            raise Rejected("the platform cannot edit messages")
        adapter = cast("Editing", self._connection.adapter)
        await self._counted(
            "edit", adapter.edit(sent_id, part, self._address(part), deadline=deadline)
        )

    async def show_typing(self, part: ReplyPart, *, deadline: Deadline) -> None:
        """Show it there."""
        if not self._connection.adapter.capabilities.typing:
            raise Rejected("the platform cannot show typing")
        adapter = cast("ShowsTyping", self._connection.adapter)
        await self._counted("typing", adapter.show_typing(self._address(part), deadline=deadline))

    async def _counted(self, call: str, work: Awaitable[None]) -> None:
        channel = self._connection.account.channel
        try:
            await work
        except ClawdbotError as exc:
            metrics.live_calls.labels(channel, call, exc.code).inc()
            raise
        metrics.live_calls.labels(channel, call, "done").inc()

    def _address(self, part: ReplyPart) -> Address:
        return self._addresses.open(part.reply)
