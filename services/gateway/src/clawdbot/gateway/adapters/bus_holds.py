"""Who is connected for which account, in the `connections` bucket."""

from __future__ import annotations

from clawdbot.gateway.ports.connectors import HoldLost
from clawdbot.runtime.bus import Bus
from clawdbot.runtime.leases import Lease, LeaseLost, Leases, open_bucket
from clawdbot.schema.streams import CONNECTIONS


class BusHold:
    """A `Hold` that is a lease."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    async def keep(self) -> None:
        """Renew it."""
        try:
            await self._lease.keep()
        except LeaseLost as exc:
            raise HoldLost from exc

    async def release(self) -> None:
        """Give it back."""
        await self._lease.release()


class BusHolds:
    """`Holds` that the broker keeps."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases

    @classmethod
    async def open(cls, bus: Bus, owner: str, ttl_s: float) -> BusHolds:
        """Return the holds of `owner` in the provisioned bucket; raises Unavailable without it."""
        return cls(Leases(await open_bucket(bus, CONNECTIONS), owner, ttl_s))

    async def acquire(self, account: str) -> BusHold | None:
        """Take the lease on `account`."""
        lease = await self._leases.acquire(account)
        return None if lease is None else BusHold(lease)
