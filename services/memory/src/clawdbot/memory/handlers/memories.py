"""Remember, forget, list, erase."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta

from clawdbot.memory.domain.owner import Owner
from clawdbot.memory.domain.records import Embedding, Record
from clawdbot.memory.handlers.archive import Archive
from clawdbot.memory.ports import Embedder, MemoryStore
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError
from clawdbot.schema.memory import (
    EraseReply,
    EraseRequest,
    ForgetReply,
    ForgetRequest,
    ListReply,
    ListRequest,
    Memory,
    RememberReply,
    RememberRequest,
)
from clawdbot.schema.principal import Scope
from clawdbot.schema.rpc import Call

log = logging.getLogger(__name__)


class Memories:
    """Answers the verbs that change or list memories; never asks a chat model.

    Args:
        archive: every write goes through it.
        store: what is kept.
        embedder: gives vectors, when it can.
        embed_timeout: how long a write waits for vectors before it is kept without.
    """

    def __init__(
        self, archive: Archive, store: MemoryStore, embedder: Embedder, embed_timeout: timedelta
    ) -> None:
        self._archive = archive
        self._store = store
        self._embedder = embedder
        self._embed_timeout_s = embed_timeout.total_seconds()

    async def remember(self, request: RememberRequest, call: Call) -> RememberReply:
        """Keep what is new of the memories, with vectors if inference gives them now.

        Raises:
            Forbidden: the principal may not write.
            Conflict: an id is taken by other content; then none is kept.
        """
        call.principal.require(Scope.MEMORY_WRITE)
        owner = Owner.of(call.principal)
        new = await self._store.unknown(owner, request.memories)
        embeddings = await self._embeddings(new, call.deadline)
        # Splitting long texts into terms would hold up everybody else's requests.
        records = await asyncio.to_thread(_records, new, embeddings)
        written = await self._archive.keep(owner, records)
        stored = len(written.ids)
        return RememberReply(
            stored=stored,
            known=len(request.memories) - stored,
            revision=str(written.revision),
        )

    async def forget(self, request: ForgetRequest, call: Call) -> ForgetReply:
        """Remove memories by id; ids of others are as if they did not exist.

        Raises:
            Forbidden: the principal may not write.
        """
        call.principal.require(Scope.MEMORY_WRITE)
        written = await self._archive.forget(Owner.of(call.principal), request.ids)
        return ForgetReply(forgotten=len(written.ids), revision=str(written.revision))

    async def list_newest(self, request: ListRequest, call: Call) -> ListReply:
        """Return a page; sensitive memories are named, their content is withheld.

        Raises:
            Forbidden: the principal may not read.
        """
        call.principal.require(Scope.MEMORY_READ)
        owner = Owner.of(call.principal)
        page = await self._store.page(owner, request.limit, request.before_ms, request.before_id)
        return ListReply(memories=tuple(page))

    async def erase(self, request: EraseRequest, call: Call) -> EraseReply:
        """Remove everything of the user, or of the tenant.

        Raises:
            Forbidden: the principal may not write, or not for the whole tenant.
        """
        principal = call.principal
        principal.require(Scope.ADMIN if request.whole_tenant else Scope.MEMORY_WRITE)
        if request.whole_tenant:
            erased = await self._archive.erase_tenant(principal.tenant)
        else:
            erased = await self._archive.erase_user(Owner.of(principal))
        return EraseReply(
            memories=erased.memories, lines=erased.lines, revision=str(erased.revision)
        )

    async def _embeddings(
        self, memories: Sequence[Memory], deadline: Deadline
    ) -> list[Embedding | None]:
        if not memories:
            return []
        try:
            found = await self._embedder.passages(
                [memory.content for memory in memories],
                deadline=deadline.within(self._embed_timeout_s),
            )
        except ClawdbotError as exc:
            # Accepted means kept: the vectors follow when inference is back.
            log.warning("memories kept without vectors", extra={"code": exc.code})
            return [None] * len(memories)
        return [Embedding(vector, found.model) for vector in found.vectors]


def _records(memories: Sequence[Memory], embeddings: Sequence[Embedding | None]) -> list[Record]:
    return [Record.of(*pair) for pair in zip(memories, embeddings, strict=True)]
