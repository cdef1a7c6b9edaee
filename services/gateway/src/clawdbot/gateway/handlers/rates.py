"""How much of a verified message's kind came lately: the screen that every message meets first."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from clawdbot.gateway.domain.crowd import Crowd
from clawdbot.gateway.domain.messages import Accepted, Envelope, Submission
from clawdbot.gateway.domain.rates import Key, Kind, Rates
from clawdbot.gateway.ports import Inbox
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.ids import MessageId, Tenant
from clawdbot.schema.messages import InboundMessage

REMEMBERED = 65_536
"""Messages of which one process knows that it let them pass, the latest ones."""


class UncrowdedInbox:
    """An `Inbox` in which no conversation holds all places, however slow the broker is."""

    def __init__(self, inbox: Inbox, crowd: Crowd) -> None:
        self._inbox = inbox
        self._crowd = crowd

    async def keep(self, envelope: Envelope, *, deadline: Deadline) -> Accepted:
        """Store the message once.

        Raises:
            RateLimited: too many messages of its conversation are being stored.
        """
        with self._crowd.enter(envelope.message.conversation_id):
            return await self._inbox.keep(envelope, deadline=deadline)

    async def find(
        self, tenant: Tenant, message_id: MessageId, *, deadline: Deadline
    ) -> InboundMessage | None:
        """Look the message up."""
        return await self._inbox.find(tenant, message_id, deadline=deadline)


class RateScreen:
    """A `Screen` that lets messages pass at the pace of conversation, sender, account and tenant.

    What it refuses is counted nowhere. A message that it let pass before is a repetition: it is
    counted apart, so that whoever is over their limit can still make sure of what was sent, and
    no number of repetitions uses up what is there for new messages of the conversation.
    """

    def __init__(self, rates: Rates, *, now: Callable[[], float] = time.monotonic) -> None:
        self._rates = rates
        self._now = now
        self._passed: OrderedDict[str, None] = OrderedDict()

    async def __call__(
        self,
        submission: Submission,  # noqa: ARG002 -- a Screen's signature; the ids are in the envelope
        envelope: Envelope,
        *,
        deadline: Deadline,  # noqa: ARG002 -- nothing is awaited
    ) -> Envelope:
        """Return `envelope`.

        Raises:
            RateLimited: there were too many like it.
        """
        message_id = envelope.message.message_id
        self._rates.take(self._keys(envelope), self._now())
        self._passed[message_id] = None
        self._passed.move_to_end(message_id)
        if len(self._passed) > REMEMBERED:
            self._passed.popitem(last=False)
        return envelope

    def _keys(self, envelope: Envelope) -> list[Key]:
        message = envelope.message
        keys: list[Key]
        if message.message_id in self._passed:
            keys = [(Kind.REPETITION, message.conversation_id)]
        else:
            # Users of two tenants may have the same id.
            sender = f"{message.tenant}.{envelope.principal.user}"
            keys = [(Kind.CONVERSATION, message.conversation_id), (Kind.SENDER, sender)]
        # The API is one channel for all tenants.
        channel = f"{message.tenant}.{message.channel}"
        return [*keys, (Kind.CHANNEL, channel), (Kind.TENANT, message.tenant)]
