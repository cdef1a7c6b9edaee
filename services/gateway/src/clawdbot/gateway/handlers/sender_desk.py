"""What an operator does with senders: see them, let them in, remove, link and unlink them."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping

from clawdbot.gateway.domain.senders import SenderPolicy, key_of, own_user
from clawdbot.gateway.handlers.senders import holds
from clawdbot.gateway.handlers.waiting import WaitingList
from clawdbot.gateway.ports.records import RecordStore
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import Conflict, Forbidden, InvalidMessage, NotFound, Overloaded
from clawdbot.schema.ids import Channel, IdKey, Tenant
from clawdbot.schema.rpc import Call
from clawdbot.schema.senders import (
    MAX_LISTED,
    ApproveSenderRequest,
    Link,
    LinkSendersRequest,
    RemoveSenderRequest,
    Sender,
    SenderName,
    SendersReply,
    SendersRequest,
    UnlinkSenderRequest,
)

log = logging.getLogger(__name__)

MAX_TRIES = 8
"""Changes of one sender at the same time; only operators make any."""
Change = Callable[[Sender], Awaitable[Sender]]
"""Gives the record that replaces the one that was read; an error leaves it as it is."""


class SenderDesk:
    """Answers the operator; every change is a compare-and-set of one sender's record."""

    def __init__(
        self,
        policies: Mapping[Channel, SenderPolicy],
        ids: IdKey,
        records: RecordStore[Sender],
        waiting: WaitingList,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._policies = policies
        self._ids = ids
        self._records = records
        self._waiting = waiting
        self._now = now

    async def list(self, _: SendersRequest, call: Call) -> SendersReply:
        """Return who is known and who waits."""
        known: list[Sender] = []
        is_cut = False
        async for change in self._records.changes(deadline=call.deadline):
            is_cut = len(known) == MAX_LISTED
            if is_cut:
                break
            if change.value is None:
                continue
            sender = await self._with_link_that_holds(change.value, call.deadline)
            if sender.paired_at_ms is not None or sender.link is not None:
                known.append(sender)
        waiting = await self._waiting.waiting(self._policies, deadline=call.deadline)
        return SendersReply(known=tuple(known), waiting=waiting, is_cut=is_cut)

    async def approve(self, request: ApproveSenderRequest, call: Call) -> Sender:
        """Let in whoever was told the code.

        Raises:
            NotFound: nobody waits with it (any more).
        """
        code = request.code.strip().upper()
        applicant = await self._waiting.take(code, self._policies, deadline=call.deadline)
        paired = {"paired_at_ms": int(self._now() * 1000)}

        async def let_in(kept: Sender) -> Sender:
            return kept.model_copy(update=paired)

        sender = await self._change(applicant.sender, let_in, call.deadline)
        _log("sender let in", sender)
        return sender

    async def remove(self, request: RemoveSenderRequest, call: Call) -> Sender:
        """Forget a sender, who is let in no more and linked to nobody.

        Raises:
            NotFound: nothing is known of them.
            Conflict: the configuration lets them in.
        """
        named = self._named(request.sender)
        if named.sender_id in self._policies[named.channel].allowed:
            raise Conflict(
                "the configuration lets this sender in",
                field="sender",
                fix="take them out of `allowed` of their account and start the gateway again",
            )
        kept = await self._records.get(_key(named), deadline=call.deadline)
        if kept is None or not await self._records.remove(_key(named), deadline=call.deadline):
            raise _unknown()
        _log("sender removed", kept.value)
        return kept.value

    async def link(self, request: LinkSendersRequest, call: Call) -> Sender:
        """Make the second sender the same person as the first; return the second.

        Raises:
            InvalidMessage: they are one sender.
            Forbidden: of two tenants, or a channel does not take links.
            Conflict: the second is linked to somebody else.
        """
        first, second = self._named(request.first), self._named(request.second)
        self._require_may_link(first, second)
        link = await self._link_of(first, call.deadline)

        async def join(kept: Sender) -> Sender:
            if kept.link != link and await holds(self._records, kept, call.deadline):
                raise Conflict(
                    "the second sender is linked already",
                    field="second",
                    fix="unlink them first: `clawdbot senders unlink`",
                )
            return kept.model_copy(update={"link": link})

        linked = await self._change(second, join, call.deadline)
        if not await holds(self._records, linked, call.deadline):
            raise Conflict("the first sender was unlinked at the same moment", field="first")
        _log("senders linked", linked)
        return linked

    async def unlink(self, request: UnlinkSenderRequest, call: Call) -> Sender:
        """Make the sender a person of their own; with a first sender all links to them end.

        Raises:
            NotFound: they are linked to nobody.
        """

        async def leave(kept: Sender) -> Sender:
            if not await holds(self._records, kept, call.deadline):
                raise NotFound("this sender is linked to nobody", field="sender")
            return kept.model_copy(update={"link": None})

        alone = await self._change(self._named(request.sender), leave, call.deadline)
        _log("sender unlinked", alone)
        return alone

    async def _link_of(self, first: Sender, deadline: Deadline) -> Link:
        """Return the link that `first` has, after giving them one of their own if they had none."""
        own = Link(user=first.user, group=secrets.token_hex(8))

        async def begin(kept: Sender) -> Sender:
            if await holds(self._records, kept, deadline):
                return kept
            return kept.model_copy(update={"link": own})

        begun = await self._change(first, begin, deadline)
        return own if begun.link is None else begun.link

    async def _change(self, sender: Sender, change: Change, deadline: Deadline) -> Sender:
        """Return what became of the sender's record; `sender` stands for one that is not there."""
        key = _key(sender)
        for _ in range(MAX_TRIES):
            kept = await self._records.get(key, deadline=deadline)
            changed = await change(sender if kept is None else kept.value)
            if kept is None:
                written = await self._records.create(key, changed, deadline=deadline)
            else:
                written = await self._records.replace(
                    key, changed, kept.revision, deadline=deadline
                )
            if written is not None:
                return changed
        raise Overloaded("the sender's record changes too fast")

    async def _with_link_that_holds(self, sender: Sender, deadline: Deadline) -> Sender:
        if await holds(self._records, sender, deadline):
            return sender
        return sender.model_copy(update={"link": None})

    def _require_may_link(self, first: Sender, second: Sender) -> None:
        if _key(first) == _key(second):
            raise InvalidMessage("a sender cannot be linked with themselves", field="second")
        if first.tenant != second.tenant:
            raise Forbidden("senders of two tenants are never one person", field="second")
        for field, sender in (("first", first), ("second", second)):
            if not self._policies[sender.channel].may_link:
                raise Forbidden(
                    f"senders of {sender.channel!r} are not linked",
                    field=field,
                    fix="set identity_links: true where that channel is configured",
                )

    def _named(self, name: SenderName) -> Sender:
        policy = self._policies.get(name.channel)
        if policy is None:
            known = ", ".join(sorted(self._policies))
            raise NotFound(f"no channel {name.channel!r}; there are {known}", field="channel")
        platform = name.platform or policy.platform
        if platform != policy.platform and not policy.has_many_platforms:
            raise NotFound(f"{name.channel!r} has no senders of {platform!r}", field="platform")
        tenant = name.tenant or policy.tenant or Tenant("default")
        if policy.tenant not in {None, tenant}:
            raise NotFound(f"{name.channel!r} is not of the tenant {tenant!r}", field="tenant")
        return Sender(
            tenant=tenant,
            channel=name.channel,
            platform=platform,
            sender_id=name.sender_id,
            user=own_user(self._ids, name.channel, platform, name.sender_id),
        )


def _key(sender: Sender) -> str:
    return key_of(sender.tenant, sender.user)


def _unknown() -> NotFound:
    return NotFound(
        "nothing is known of this sender", field="sender", fix="see `clawdbot senders list`"
    )


def _log(message: str, sender: Sender) -> None:
    log.info(message, extra={"channel": sender.channel, "user": sender.user})
