"""Accepted messages in the INBOUND stream, which is also the record of what was accepted."""

from __future__ import annotations

from clawdbot.gateway.domain.messages import Accepted, Envelope
from clawdbot.runtime.bus import Bus
from clawdbot.runtime.timeouts import Timeouts
from clawdbot.schema import subjects
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.ids import MessageId, Tenant
from clawdbot.schema.messages import InboundMessage
from clawdbot.schema.principal import PrincipalSigner
from clawdbot.schema.streams import INBOUND

CONFIRMATION_SHARE = 0.6
"""Share of the time that the broker has to confirm; the rest is for looking what became of it."""


class BusInbox:
    """An `Inbox` that the broker keeps."""

    def __init__(self, bus: Bus, signer: PrincipalSigner) -> None:
        self._bus = bus
        self._signer = signer
        self._timeouts = Timeouts()

    async def keep(self, envelope: Envelope, *, deadline: Deadline) -> Accepted:
        """Store the message under a subject that the broker takes once."""
        try:
            async with self._timeouts.within(deadline.require()):
                return await self._keep(envelope, deadline)
        except TimeoutError as exc:
            raise Unavailable("the broker did not confirm the message in time") from exc

    async def _keep(self, envelope: Envelope, deadline: Deadline) -> Accepted:
        message = envelope.message
        subject = subjects.inbound(message.tenant, message.conversation_id, message.message_id)
        stored = await self._bus.store_once(
            subject,
            message,
            deadline=deadline.within(CONFIRMATION_SHARE * deadline.remaining_s()),
            principal=self._signer.sign(envelope.principal),
            valid_until=Deadline.from_ms(message.deadline_ms),
        )
        if stored.is_new:
            return Accepted(message, is_new=True)
        kept = await self._bus.read_last(INBOUND, subject, InboundMessage, deadline=deadline)
        if kept is None:
            raise Unavailable("the message is gone again; send it once more")
        # After a late confirmation it is our own copy that we find.
        return Accepted(kept.message, is_new=kept.message == message)

    async def find(
        self, tenant: Tenant, message_id: MessageId, *, deadline: Deadline
    ) -> InboundMessage | None:
        """Return the message from whatever conversation it is in."""
        subject = subjects.inbound_by_id(tenant, message_id)
        kept = await self._bus.read_last(INBOUND, subject, InboundMessage, deadline=deadline)
        return None if kept is None else kept.message
