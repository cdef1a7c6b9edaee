"""Accounts that we connect to: a connector for each, in every gateway."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from secrets import token_hex

from clawdbot.gateway.adapters.bus_holds import BusHolds
from clawdbot.gateway.adapters.platforms.feed import AccountFeed, AccountMeter
from clawdbot.gateway.adapters.platforms.intake import Intake
from clawdbot.gateway.adapters.platforms.interface import Connects
from clawdbot.gateway.handlers.connectors import Connector
from clawdbot.runtime.service import Runtime


async def connect_accounts(runtime: Runtime, intakes: Sequence[Intake]) -> None:
    """Connect for those accounts that have no webhook, one gateway at a time.

    Raises:
        Unavailable: the broker is not provisioned or does not answer.
    """
    wanted = [intake for intake in intakes if intake.connection.account.connects]
    if not wanted:
        return
    owner = f"{socket.gethostname()}:{os.getpid()}:{token_hex(4)}"
    holds = await BusHolds.open(runtime.bus, owner, runtime.config.bus.connection_ttl_s)
    for intake in wanted:
        channel, adapter = intake.connection.account.channel, intake.connection.adapter
        if not isinstance(adapter, Connects):
            raise TypeError(f"the adapter of {channel} does not connect")
        feed = AccountFeed(intake, adapter)
        connector = Connector(channel, feed, holds, AccountMeter(channel))
        runtime.health.warn_when(f"connection {channel}", connector.reason)
        runtime.spawn(connector.run(), name=f"connect-{channel}")
