"""Who is let in on a channel, and who of them waits with a code."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from clawdbot.gateway.domain.messages import framed
from clawdbot.schema.errors import Forbidden
from clawdbot.schema.ids import Channel, IdKey, Tenant
from clawdbot.schema.senders import Applicant, Sender
from clawdbot.schema.wire import Wire

CODE_TTL_MS = 3_600_000
"""How long a code can be approved; the bucket keeps what waits at least as long."""
MAX_WAITING = 64
"""Codes that are open at one channel account, so that strangers cannot fill the bucket."""
MAX_TOLD = 3
"""How often one code is told: whoever goes on writing gets no more replies for it."""


class SenderRefused(Forbidden):
    """The sender is not let in, and is told nothing where the platform allows that."""

    code: ClassVar[str] = "sender_refused"


class WaitingListFull(SenderRefused):
    """As many strangers as may wait at this account wait already."""

    code: ClassVar[str] = "pairing_full"


class Applicants(Wire):
    """Everybody who waits at one channel account, as its bucket keeps it."""

    SCHEMA = "sender_applicants/1"

    waiting: tuple[Applicant, ...] = ()


@dataclass(frozen=True)
class TurnedAway:
    """A message that was not kept because of its sender."""

    code: str
    """The error's code, for whoever counts."""


class SenderRule(StrEnum):
    """Who is let in."""

    OPEN = "open"
    ALLOW_LIST = "allow_list"
    PAIRING = "pairing"


@dataclass(frozen=True)
class SenderPolicy:
    """What holds for the senders of one channel."""

    platform: str
    """Of senders for whom none is named."""
    tenant: Tenant | None
    """None where each sender brings their own, as the users of tokens do."""
    rule: SenderRule = SenderRule.PAIRING
    allowed: frozenset[str] = frozenset()
    """Platform's ids of senders who need no code."""
    may_link: bool = False
    has_many_platforms: bool = False
    """Whether its senders may be of other platforms too."""

    @property
    def asks_the_record(self) -> bool:
        """Whether what is kept of a sender can make a difference."""
        return self.may_link or self.rule is SenderRule.PAIRING

    def admits(self, sender_id: str, kept: Sender | None) -> bool:
        """Return whether the sender is let in, of whom `kept` is known."""
        if self.rule is SenderRule.OPEN or sender_id in self.allowed:
            return True
        is_paired = kept is not None and kept.paired_at_ms is not None
        return is_paired and self.rule is SenderRule.PAIRING


def own_user(ids: IdKey, channel: Channel, platform: str, sender_id: str) -> str:
    """Return the user id that is a sender's own, whoever they are linked with."""
    # One webhook speaks for several platforms, whose users may have the same ids.
    return ids.user(channel, framed(platform, sender_id))


def key_of(tenant: Tenant, user: str) -> str:
    """Return where a sender's record is kept."""
    return f"{tenant}.{user}"


def still_waiting(waiting: tuple[Applicant, ...], now_ms: int) -> tuple[Applicant, ...]:
    """Return those whose code is still good."""
    return tuple(one for one in waiting if now_ms < one.expires_at_ms)


def after_asking(
    waiting: tuple[Applicant, ...], sender: Sender, code: str, now_ms: int
) -> tuple[tuple[Applicant, ...], Applicant]:
    """Return the waiting list once `sender` asked to be let in, and their place in it.

    Args:
        waiting: the list, nobody expired.
        sender: who writes.
        code: one for them if they have none.
        now_ms: Unix milliseconds.

    Raises:
        SenderRefused: they were told their code often enough.
        WaitingListFull: there is no place left.
    """
    known = next((one for one in waiting if one.sender.user == sender.user), None)
    if known is None:
        if len(waiting) >= MAX_WAITING:
            raise WaitingListFull("too many senders wait to be let in")
        known = Applicant(
            sender=sender, code=code, asked_at_ms=now_ms, expires_at_ms=now_ms + CODE_TTL_MS
        )
        return (*waiting, known), known
    if known.told >= MAX_TOLD:
        raise SenderRefused("the sender was told a code already and is not let in yet")
    again = known.model_copy(update={"told": known.told + 1})
    return tuple(again if one is known else one for one in waiting), again
