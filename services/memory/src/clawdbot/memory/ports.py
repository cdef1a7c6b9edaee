"""What the handlers need of the world."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from clawdbot.memory.domain.bm25 import Postings
from clawdbot.memory.domain.owner import Conversation, Owner, Revision, TimeRange
from clawdbot.memory.domain.records import Backlogged, Embedding, Record, Vector
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.ids import Tenant
from clawdbot.schema.memory import ConversationLine, ConversationSummary, Memory


class Written(NamedTuple):
    """What a write did."""

    ids: tuple[str, ...]
    """Memories that it added or removed."""
    revision: Revision


class Erased(NamedTuple):
    """What an erasure removed."""

    memories: int
    lines: int
    revision: Revision


class Embeddings(NamedTuple):
    """Vectors of one model."""

    vectors: NDArray[np.float32]
    """Shape (texts, dim), float32, rows of unit length, in the order of the texts."""
    model: str


class Embedder(Protocol):
    """Turns text into vectors; questions and passages differ."""

    async def passages(self, texts: Sequence[str], *, deadline: Deadline) -> Embeddings:
        """Return a vector for each of 1 to 256 texts that will be searched.

        Raises:
            ClawdbotError: inference is away, full, late, or does not know the model.
        """
        ...

    async def query(self, text: str, *, deadline: Deadline) -> Embedding:
        """Return the vector of a question.

        Raises:
            ClawdbotError: as `passages`.
        """
        ...


class MemoryStore(Protocol):
    """Memories, each kept under its owner and found under no other."""

    async def unknown(self, owner: Owner, memories: Sequence[Memory]) -> Sequence[Memory]:
        """Return those not kept yet, each id once.

        Raises:
            Conflict: an id is taken by other content.
        """
        ...

    async def keep(self, owner: Owner, records: Sequence[Record]) -> Written:
        """Keep those not kept yet, all or none.

        Raises:
            Conflict: an id is taken by other content.
        """
        ...

    async def forget(self, owner: Owner, ids: Sequence[str]) -> Written:
        """Remove what exists of `ids`, with everything derived; these ids then count as known."""
        ...

    async def erase_user(self, owner: Owner) -> Erased:
        """Remove everything of a user, conversations too."""
        ...

    async def erase_tenant(self, tenant: Tenant) -> Erased:
        """Remove everything of a tenant, and the key to what copies there may be."""
        ...

    async def page(
        self, owner: Owner, limit: int, before_ms: int | None, before_id: str | None
    ) -> Sequence[Memory]:
        """Return the newest made before `before_ms`; sensitive ones without their content.

        With `before_id` also those made at `before_ms` whose id is below it.
        """
        ...

    async def revision(self, tenant: Tenant) -> Revision:
        """Return how far the tenant's shard is."""
        ...


class MemorySearch(Protocol):
    """Reads for recall; every one is limited to the owner and the time range by SQL."""

    async def postings(self, owner: Owner, terms: Sequence[str], times: TimeRange) -> Postings:
        """Return where `terms` occur; sensitive memories are not among them."""
        ...

    async def ids(self, owner: Owner, times: TimeRange) -> Sequence[str]:
        """Return the ids within `times`; sensitive memories are not among them."""
        ...

    async def fetch(self, owner: Owner, ids: Sequence[str], times: TimeRange) -> dict[str, Memory]:
        """Return those of `ids` that exist within `times`; sensitive ones are not among them."""
        ...

    async def sensitive(self, owner: Owner, times: TimeRange) -> Sequence[Record]:
        """Return the owner's sensitive memories within `times`, decrypted."""
        ...


class VectorIndex(Protocol):
    """Finds an owner's vectors by meaning; a projection of the store that may be dropped."""

    async def search(
        self, owner: Owner, query: Embedding, count: int, among: Sequence[str] | None
    ) -> dict[str, float]:
        """Return the exact `count` nearest by inner product, by id.

        Args:
            owner: whose vectors; those of others cannot be reached.
            query: only vectors of its model are compared.
            count: at most so many are returned.
            among: only these ids compete; None means all.
        """
        ...

    async def add(self, owner: Owner, records: Sequence[Record]) -> None:
        """Take in vectors that the store has committed; those already held are left alone."""
        ...

    async def remove(self, owner: Owner, ids: Sequence[str]) -> None:
        """Take out what the store no longer has."""
        ...

    def drop(self, tenant: Tenant, user: str | None = None) -> None:
        """Forget what is held of a user, or of a tenant; the next search reads the store again."""
        ...


class Backlog(Protocol):
    """Memories that were kept without an embedding."""

    async def backlog(self, after: Backlogged | None, limit: int) -> Sequence[Backlogged]:
        """Return the next ones in a fixed order, after `after`."""
        ...

    async def fill(self, item: Backlogged, embedding: Embedding) -> bool:
        """Store the embedding; False when the memory is gone, another, or has one by now."""
        ...


class VectorSource(Protocol):
    """Where an index is read from."""

    async def vectors(self, owner: Owner, model: str) -> Sequence[tuple[str, Vector]]:
        """Return id and vector of all of an owner's memories with one of `model`."""
        ...


class ConversationStore(Protocol):
    """The lines of conversations, in order."""

    async def append(
        self, conversation: Conversation, lines: Sequence[ConversationLine], name: str | None
    ) -> int:
        """Add the lines not there yet, all or none, and return how many there are now.

        The conversation's name is kept when it is given for the first time.

        Raises:
            Conflict: a line's id is taken by another line.
        """
        ...

    async def history(
        self, conversation: Conversation, limit: int, before_id: str | None
    ) -> Sequence[ConversationLine]:
        """Return the newest lines, or those before one of them; the oldest of them first."""
        ...

    async def list_latest(
        self, owner: Owner, limit: int, before: tuple[int, str] | None
    ) -> Sequence[ConversationSummary]:
        """Return the conversations by their latest line's time and id, the latest first.

        Args:
            owner: whose.
            limit: how many at most.
            before: time (Unix milliseconds) and id of the conversation that these come after.
        """
        ...

    async def forget(self, conversation: Conversation) -> int:
        """Erase the conversation and return how many lines it had."""
        ...
