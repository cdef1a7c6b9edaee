"""Which limits there are, and the one error of whoever is over one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import ClassVar

from clawdbot.gateway.domain.buckets import Buckets, Limit
from clawdbot.schema.errors import Overloaded


class Kind(StrEnum):
    """What is limited; the value names it in metrics and between replicas."""

    CONVERSATION = "conversation"
    """Messages of a conversation."""
    REPETITION = "repetition"
    """Messages of a conversation that came before, and were let pass then."""
    SENDER = "sender"
    """Messages of a person or program."""
    CHANNEL = "channel"
    """Messages to one account of a platform, of one tenant."""
    TENANT = "tenant"
    """Messages of a tenant."""
    ADDRESS = "address"
    """Authentic requests from an address."""
    FAILURE = "failure"
    """Requests from an address that nobody known sent."""
    KEEPING = "keeping"
    """Messages of a conversation that are being stored at this moment."""
    WAITING = "waiting"
    """Questions of a sender that wait for their answer at this moment."""


_SETTING = {
    Kind.REPETITION: "conversation_per_s",
    Kind.KEEPING: "conversation_inflight",
    Kind.WAITING: "sender_chats",
}
_WHOSE = {
    Kind.CONVERSATION: "messages in this conversation",
    Kind.REPETITION: "repetitions in this conversation",
    Kind.SENDER: "messages from this sender",
    Kind.CHANNEL: "messages to this account",
    Kind.TENANT: "messages of this tenant",
    Kind.ADDRESS: "requests from this address",
    Kind.FAILURE: "requests from this address that nobody known sent",
    Kind.KEEPING: "messages in this conversation at the same time",
    Kind.WAITING: "questions of this sender at the same time",
}

Key = tuple[Kind, str]
OnRefusal = Callable[[Kind], None]


class RateLimited(Overloaded):
    """One kind of thing came too often; everything else goes on."""

    code: ClassVar[str] = "rate_limited"

    def __init__(self, kind: Kind, retry_after_s: float) -> None:
        super().__init__(f"too many {_WHOSE[kind]}", retry_after_s=retry_after_s)
        self.kind = kind
        setting = _SETTING.get(kind, f"{kind.value}_per_s")
        self.fix = f"wait as long as Retry-After says; the limit is gateway.rates.{setting}"


def ignored(kind: Kind) -> None:
    """Hear of a refusal and do nothing about it."""


class Rates:
    """All limits of one replica.

    Args:
        limits: by kind; a kind without one is not limited.
        max_keys: how many keys of each kind are remembered.
        on_refusal: told of each refusal.
    """

    def __init__(
        self, limits: Mapping[Kind, Limit], max_keys: int, on_refusal: OnRefusal = ignored
    ) -> None:
        self._buckets = {
            # Whoever fails under ever new addresses must not be forgotten for it.
            kind: Buckets(limit, max_keys, forgets=kind is not Kind.FAILURE)
            for kind, limit in limits.items()
        }
        self._on_refusal = on_refusal

    def limits(self, kind: Kind) -> bool:
        """Return whether there is a limit of that kind."""
        return kind in self._buckets

    def take(self, keys: Sequence[Key], now: float) -> None:
        """Count one under each key, or under none of them.

        Raises:
            RateLimited: of the first kind that is over its limit, with the longest wait of all.
        """
        limited = [(kind, key) for kind, key in keys if kind in self._buckets]
        waits = {kind: self._buckets[kind].wait_s(key, now) for kind, key in limited}
        over = [kind for kind, wait_s in waits.items() if wait_s > 0]
        if over:
            self._on_refusal(over[0])
            raise RateLimited(over[0], max(waits.values()))
        for kind, key in limited:
            self._buckets[kind].add(key, now)

    def give_back(self, kind: Kind, key: str, now: float) -> None:
        """Undo one `take` of `key`."""
        if kind in self._buckets:
            self._buckets[kind].give_back(key, now)

    def tell(self, most: int) -> list[tuple[Kind, str, int]]:
        """Return up to `most` counts that other replicas should know."""
        told: list[tuple[Kind, str, int]] = []
        for kind, buckets in self._buckets.items():
            told += [(kind, key, count) for key, count in buckets.tell(most - len(told))]
        return told

    def learn(self, counts: Iterable[tuple[str, str, int]], now: float) -> None:
        """Add the counts of another replica; kinds that we do not know or limit are passed over."""
        by_name = {kind.value: buckets for kind, buckets in self._buckets.items()}
        for kind, key, count in counts:
            if (buckets := by_name.get(kind)) is not None:
                buckets.learn(key, count, now)
