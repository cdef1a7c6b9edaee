"""Records of deliveries in the `deliveries` bucket."""

from __future__ import annotations

from clawdbot.gateway.domain.deliveries import Noted
from clawdbot.runtime.bus import Bus
from clawdbot.runtime.records import Records
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.deliveries import ReplyDelivery
from clawdbot.schema.streams import DELIVERIES


class BucketDeliveryRecords:
    """A `DeliveryRecords` that the broker keeps."""

    def __init__(self, records: Records[ReplyDelivery]) -> None:
        self._records = records

    @classmethod
    async def open(cls, bus: Bus) -> BucketDeliveryRecords:
        """Return the records of the provisioned bucket; raises Unavailable without it."""
        return cls(await Records.open(bus, DELIVERIES, ReplyDelivery))

    async def read(self, key: str, *, deadline: Deadline) -> Noted | None:
        """Look it up."""
        record = await self._records.get(key, deadline=deadline)
        return None if record is None else Noted(record.value, record.revision)

    async def write(
        self, key: str, value: ReplyDelivery, revision: int, *, deadline: Deadline
    ) -> int | None:
        """Compare and set."""
        return await self._records.replace(key, value, revision, deadline=deadline)
