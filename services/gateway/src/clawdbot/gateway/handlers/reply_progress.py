"""How far a reply is sent: the record that outlives a process, and what the process knows better.

A record is read once for each attempt. A piece that the platform would show twice is announced in
it before it is sent, so that whoever finds the announcement knows that the piece may show.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass

from clawdbot.gateway.domain.deliveries import MOST_DOUBTS, MayShow, Noted, record_key
from clawdbot.gateway.ports import DeliveryRecords
from clawdbot.schema import subjects
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.deliveries import ReplyDelivery
from clawdbot.schema.delivery import Delivery
from clawdbot.schema.errors import Retryable, Unavailable
from clawdbot.schema.messages import OutboundMessage

log = logging.getLogger(__name__)

REMEMBERED_REPLIES = 4096
"""Replies of which one process knows how much it sent, the latest ones."""


@dataclass(frozen=True)
class DraftPatience:
    """How long a reply waits for its draft to end."""

    quiet_s: float = 4.0
    """A draft that did not write for this long has no call under way: each is shorter."""
    most_s: float = 15.0
    """After this the draft is taken over even if it still writes."""
    look_every_s: float = 0.05


class ReplyProgress:
    """How far one reply is sent; made by `ReplyRecords.open` for one attempt."""

    def __init__(self, records: ReplyRecords, key: str, noted: Noted | None) -> None:
        self._records = records
        self._key = key
        self._revision = noted.revision if noted else 0
        self.state = noted.value if noted else ReplyDelivery()

    async def announce(self, deadline: Deadline) -> None:
        """Record that the next piece is about to be sent and may show from now on.

        Raises:
            MayShow: that was announced as often as a piece may be sent in doubt.
            Unavailable: it is not recorded, so that the piece must not be sent.
        """
        if self.state.doubts >= MOST_DOUBTS:
            raise MayShow(
                "the platform never said whether it took the reply, which was sent twice",
                fix="look into the conversation, then redrive or drop the letter",
            )
        announced = self.state.model_copy(update={"doubts": self.state.doubts + 1})
        await self._write(announced, deadline)
        self._is(announced)

    def shown(self) -> None:
        """Remember that the next piece shows."""
        changes = {"sent": self.state.sent + 1, "doubts": 0, "draft_id": None}
        self._is(self.state.model_copy(update=changes))

    async def not_shown(self, deadline: Deadline) -> None:
        """Take an announcement back: the platform refused the piece."""
        if not self.state.doubts:
            return
        self._is(self.state.model_copy(update={"doubts": self.state.doubts - 1}))
        await self.record_if_possible(deadline)

    def without_draft(self) -> None:
        """Remember that the draft is gone."""
        self._is(self.state.model_copy(update={"draft_id": None, "doubts": 0}))

    async def record(self, deadline: Deadline) -> None:
        """Record what this process knows.

        Raises:
            Unavailable: it may not be recorded; this process knows it all the same.
        """
        await self._write(self.state, deadline)

    async def record_if_possible(self, deadline: Deadline) -> None:
        """Record it, unless the broker is away: then only this process knows."""
        try:
            await self.record(deadline)
        except Retryable as exc:
            log.warning("delivery not recorded", extra={"reason": exc.message})

    async def _write(self, value: ReplyDelivery, deadline: Deadline) -> None:
        self._revision = await self._records.write(self._key, value, self._revision, deadline)

    def _is(self, state: ReplyDelivery) -> None:
        self.state = state
        self._records.remember(self._key, state)


class ReplyRecords:
    """The records of one account's replies.

    Args:
        records: where they are kept.
        owner: names this process.
        patience: how long drafts are waited for.
        has_drafts: whether somebody may show a draft before the reply is stored.
    """

    def __init__(
        self,
        records: DeliveryRecords,
        owner: str,
        *,
        has_drafts: bool = False,
        patience: DraftPatience | None = None,
    ) -> None:
        self._records = records
        self._owner = owner
        self._has_drafts = has_drafts
        self._patience = patience or DraftPatience()
        self._known: OrderedDict[str, ReplyDelivery] = OrderedDict()

    async def open(self, delivery: Delivery[OutboundMessage]) -> ReplyProgress:
        """Return how far the reply is sent, once nobody drafts it any more.

        Raises:
            Unavailable: the broker does not answer.
        """
        key, deadline = _key(delivery), delivery.deadline
        noted = await self._undrafted(key, deadline) or await self._redriven(delivery)
        while noted is None and self._has_drafts:
            # A draft that begins now must find that it is too late.
            value = self._known.get(key, ReplyDelivery()).model_copy(update={"owner": self._owner})
            revision = await self._records.write(key, value, 0, deadline=deadline)
            noted = Noted(value, revision) if revision else await self._undrafted(key, deadline)
        progress = ReplyProgress(self, key, noted)
        known = self._known.get(key)
        # What this process did after its last record, or instead of it, only it knows.
        if known is not None and (noted is None or noted.value.owner == self._owner):
            progress.state = known
        return progress

    async def write(self, key: str, value: ReplyDelivery, revision: int, at: Deadline) -> int:
        """Replace the record at `revision` (0: none), and return the new revision.

        Raises:
            Unavailable: the broker does not answer, or another process changed the record.
        """
        mine = value.model_copy(update={"owner": self._owner})
        written = await self._records.write(key, mine, revision, deadline=at)
        if written is None:
            raise Unavailable("another worker sends this reply")
        return written

    def remember(self, key: str, state: ReplyDelivery) -> None:
        """Keep what this process knows for its next attempt."""
        self._known[key] = state
        self._known.move_to_end(key)
        if len(self._known) > REMEMBERED_REPLIES:
            self._known.popitem(last=False)

    def forget(self, delivery: Delivery[OutboundMessage]) -> int:
        """Forget a reply that was given up, and return how many pieces of it were sent."""
        known = self._known.pop(_key(delivery), None)
        return known.sent if known else 0

    async def _undrafted(self, key: str, deadline: Deadline) -> Noted | None:
        noted = await self._records.read(key, deadline=deadline)
        most = deadline.within(self._patience.most_s)
        while noted is not None and noted.value.is_drafting:
            found = await self._once_quiet(key, noted, most)
            if found is None or found.revision != noted.revision:
                noted = found
                continue
            taken = noted.value.model_copy(update={"is_drafting": False, "owner": self._owner})
            revision = await self._records.write(key, taken, noted.revision, deadline=deadline)
            if revision:
                log.info("draft taken over", extra={"has_id": taken.draft_id is not None})
                return Noted(taken, revision)
            noted = await self._records.read(key, deadline=deadline)
        return noted

    async def _once_quiet(self, key: str, noted: Noted, most: Deadline) -> Noted | None:
        """Return the record once it changed, or `noted` itself when it did not for long enough."""
        quiet = most.within(self._patience.quiet_s)
        while quiet.remaining_s() > 0:
            await asyncio.sleep(self._patience.look_every_s)
            found = await self._records.read(key, deadline=Deadline.after(self._patience.most_s))
            if found is None or found.revision != noted.revision:
                return found
        return noted

    async def _redriven(self, delivery: Delivery[OutboundMessage]) -> Noted | None:
        """Go on where a dead letter ended: sending it again is what its operator decided."""
        reply = delivery.message
        key, first_key = _key(delivery), record_key(reply.message_id, reply.part)
        if key == first_key:
            return None
        found = await self._records.read(first_key, deadline=delivery.deadline)
        if found is None:
            return None
        changes = {"doubts": 0, "is_drafting": False, "owner": self._owner}
        value = found.value.model_copy(update=changes)
        revision = await self.write(key, value, 0, delivery.deadline)
        return Noted(value, revision)


def _key(delivery: Delivery[OutboundMessage]) -> str:
    address = subjects.parse_outbound(delivery.subject)
    return record_key(address.message_id, address.part)
