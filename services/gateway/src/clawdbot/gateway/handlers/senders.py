"""Whether a sender is let in, and as whom: looked at before a message is kept."""

from __future__ import annotations

from collections.abc import Mapping

from clawdbot.gateway.domain.messages import Envelope, Submission
from clawdbot.gateway.domain.senders import SenderPolicy, SenderRefused, SenderRule, key_of
from clawdbot.gateway.handlers.waiting import WaitingList
from clawdbot.gateway.ports.records import RecordStore
from clawdbot.schema.controls import Control, ControlKind
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.ids import Channel
from clawdbot.schema.senders import Sender

STRANGERS_CHARS = 200
"""As much of a stranger's words as tells which language to answer in."""


class Admission:
    """Lets senders in by the policy of their channel; a `Screen`.

    The record of a sender is read for each message and not remembered: so whoever is removed is
    out at once, on every replica, for one read of the broker beside the write that follows anyway.
    """

    def __init__(
        self,
        policies: Mapping[Channel, SenderPolicy],
        records: RecordStore[Sender],
        waiting: WaitingList,
    ) -> None:
        self._policies = policies
        self._records = records
        self._waiting = waiting

    async def __call__(
        self, submission: Submission, envelope: Envelope, *, deadline: Deadline
    ) -> Envelope:
        """Return the message on behalf of the person, or as one that is answered with a code.

        Raises:
            SenderRefused: the sender is not let in and is told nothing.
            Overloaded: too many strangers write at the same time.
            Unavailable: the broker does not answer.
        """
        policy = self._policies.get(submission.channel)
        if policy is None:
            raise SenderRefused("nobody is let in on this channel")
        kept = await self._kept(envelope, deadline) if policy.asks_the_record else None
        if not policy.admits(submission.sender_id, kept):
            if policy.rule is not SenderRule.PAIRING or submission.in_group:
                raise SenderRefused("the sender is not let in")
            return await self._answered_with_a_code(submission, envelope, deadline)
        if policy.may_link and kept is not None and await holds(self._records, kept, deadline):
            return _on_behalf_of(kept, envelope)
        return envelope

    async def _kept(self, envelope: Envelope, deadline: Deadline) -> Sender | None:
        who = envelope.principal
        kept = await self._records.get(key_of(who.tenant, who.user), deadline=deadline)
        return None if kept is None else kept.value

    async def _answered_with_a_code(
        self, submission: Submission, envelope: Envelope, deadline: Deadline
    ) -> Envelope:
        sender = Sender(
            tenant=submission.tenant,
            channel=submission.channel,
            platform=submission.platform,
            sender_id=submission.sender_id,
            user=envelope.principal.user,
        )
        applicant = await self._waiting.ask(sender, deadline=deadline)
        told = {
            "control": Control(kind=ControlKind.PAIR, code=applicant.code),
            # Nothing of a stranger's is fetched, and little is kept.
            "content": submission.content[:STRANGERS_CHARS],
            "attachments": (),
        }
        nothing = {"scopes": frozenset[str]()}
        return Envelope(
            envelope.message.model_copy(update=told), envelope.principal.model_copy(update=nothing)
        )


async def holds(records: RecordStore[Sender], sender: Sender, deadline: Deadline) -> bool:
    """Return whether the sender's link holds: the person's first sender has the same one."""
    link = sender.link
    if link is None or link.user == sender.user:
        return link is not None
    first = await records.get(key_of(sender.tenant, link.user), deadline=deadline)
    return first is not None and first.value.link == link


def _on_behalf_of(sender: Sender, envelope: Envelope) -> Envelope:
    if sender.link is None:
        return envelope
    person = envelope.principal.model_copy(update={"user": sender.link.user})
    return Envelope(envelope.message, person)
