"""Whose memories, and of which time."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from clawdbot.schema.errors import InvalidMessage
from clawdbot.schema.ids import ConversationId, Tenant
from clawdbot.schema.principal import Principal
from clawdbot.schema.subjects import MEMORY_SHARDS


@dataclass(frozen=True)
class Owner:
    """A tenant's user; made from a verified principal and from nothing else in a request."""

    tenant: Tenant
    user: str

    @classmethod
    def of(cls, principal: Principal) -> Owner:
        """Return on whose memories `principal` acts."""
        return cls(principal.tenant, principal.user)


@dataclass(frozen=True)
class Conversation:
    """One owner's conversation."""

    owner: Owner
    id: ConversationId


@dataclass(frozen=True)
class TimeRange:
    """From `since_ms` until before `until_ms`, Unix milliseconds; None means open."""

    since_ms: int | None = None
    until_ms: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether every time lies within."""
        return self.since_ms is None and self.until_ms is None


@dataclass(frozen=True)
class Revision:
    """How often a shard was written to; tenants of one shard share the count."""

    shard: int
    number: int

    def __str__(self) -> str:
        """Return the token that callers see: `<shard>:<number>`."""
        return f"{self.shard}:{self.number}"

    @classmethod
    def parse(cls, token: str) -> Revision:
        """Return the revision that `token` stands for.

        Raises:
            InvalidMessage: not a token of ours.
        """
        shard, _, number = token.partition(":")
        if not (_is_number(shard) and _is_number(number)):
            raise InvalidMessage(f"{token[:80]!r} is not a revision", field="min_revision")
        return cls(int(shard), int(number))


def shard_of(tenant: Tenant) -> int:
    """Return the shard that a tenant's changes are counted in, 0 to 255; the same for ever."""
    return zlib.crc32(tenant.encode()) % MEMORY_SHARDS


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18
