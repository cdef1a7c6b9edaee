"""Recall: by word and by meaning, within the owner's memories of a time range, fused by score."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from clawdbot.memory.domain import bm25, fusion
from clawdbot.memory.domain.owner import Owner, Revision, TimeRange
from clawdbot.memory.domain.records import Embedding, Record
from clawdbot.memory.domain.tokens import tokens
from clawdbot.memory.ports import Embedder, MemorySearch, MemoryStore, VectorIndex
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, InvalidMessage, Unavailable
from clawdbot.schema.ids import Tenant
from clawdbot.schema.memory import Memory, Recalled, RecallReply, RecallRequest, ScoreParts
from clawdbot.schema.principal import Scope
from clawdbot.schema.rpc import Call

log = logging.getLogger(__name__)

CANDIDATES: Final = 100
"""Best of each half that compete in the fused ranking."""
MAX_QUERY_TERMS: Final = 256
"""Distinct terms of a question that are looked up; a pasted document needs no more."""


@dataclass(frozen=True)
class Ranking:
    """How two rankings become one."""

    semantic_weight: float
    """Share of meaning, in 0..1; belongs to the embedding model."""
    candidates: int = CANDIDATES


@dataclass(frozen=True)
class _Question:
    owner: Owner
    text: str
    terms: tuple[str, ...]
    times: TimeRange
    sensitive: Sequence[Record]
    """The owner's sensitive memories, decrypted; none unless they were asked for."""


class Recall:
    """Answers questions to a user's memories.

    Args:
        store: tells how far the truth is.
        search: finds by word, and gives what is found.
        index: finds by meaning.
        embedder: turns the question into a vector.
        ranking: weights.
        embed_timeout: how long to wait for that vector before answering by words alone.
    """

    def __init__(  # noqa: PLR0913 -- each is a port of its own; main alone calls it
        self,
        store: MemoryStore,
        search: MemorySearch,
        index: VectorIndex,
        embedder: Embedder,
        *,
        ranking: Ranking,
        embed_timeout: timedelta,
    ) -> None:
        self._store = store
        self._search = search
        self._index = index
        self._embedder = embedder
        self._ranking = ranking
        self._embed_timeout_s = embed_timeout.total_seconds()

    async def recall(self, request: RecallRequest, call: Call) -> RecallReply:
        """Return the best memories, best first; by keyword alone when meaning is out of reach.

        Raises:
            Forbidden: the principal may not read.
            Unavailable: `min_revision` is not reached.
        """
        call.principal.require(Scope.MEMORY_READ)
        await self._require_revision(call.principal.tenant, request.min_revision)
        question = await self._question(request, Owner.of(call.principal))
        keyword = await self._by_keyword(question)
        semantic, degraded = await self._by_meaning(question, call.deadline)
        weight = 0.0 if degraded else self._ranking.semantic_weight
        ranked = fusion.fused(keyword, semantic, weight, limit=request.limit)
        found = await self._fetch(question, ranked)
        return RecallReply(memories=tuple(_recalled(ranked, found)), degraded=degraded)

    async def _require_revision(self, tenant: Tenant, token: str | None) -> None:
        if token is None:
            return
        wanted, reached = Revision.parse(token), await self._store.revision(tenant)
        if wanted.shard != reached.shard:
            raise InvalidMessage(f"revision {token!r} is of another tenant", field="min_revision")
        if wanted.number > reached.number:
            raise Unavailable(f"memories are at revision {reached}, {wanted} was asked for")

    async def _question(self, request: RecallRequest, owner: Owner) -> _Question:
        times = TimeRange(request.since_ms, request.until_ms)
        terms = tuple(dict.fromkeys(await asyncio.to_thread(tokens, request.query)))
        sealed = await self._search.sensitive(owner, times) if request.include_sensitive else ()
        return _Question(owner, request.query, terms[:MAX_QUERY_TERMS], times, sealed)

    async def _by_keyword(self, question: _Question) -> dict[str, float]:
        if not question.terms:
            return {}
        postings = await self._search.postings(question.owner, question.terms, question.times)
        if question.sensitive:
            in_memory = await asyncio.to_thread(_postings, question.sensitive, question.terms)
            postings = postings.joined(in_memory)
        return fusion.top(bm25.scores(postings), self._ranking.candidates)

    async def _by_meaning(
        self, question: _Question, deadline: Deadline
    ) -> tuple[dict[str, float], str | None]:
        """Return scores by id, and why there are none when meaning could not be used."""
        if not question.text.strip():
            return {}, None
        try:
            query = await self._embedder.query(
                question.text, deadline=deadline.within(self._embed_timeout_s)
            )
            among = await self._eligible(question)
            count = self._ranking.candidates
            found = await self._index.search(question.owner, query, count, among)
        except ClawdbotError as exc:
            log.warning("recalled by keyword alone", extra={"code": exc.code})
            return {}, f"by keyword alone: {exc.message}"
        return fusion.top({**found, **_similar(question.sensitive, query)}, count), None

    async def _eligible(self, question: _Question) -> Sequence[str] | None:
        if question.times.is_open:
            return None
        return await self._search.ids(question.owner, question.times)

    async def _fetch(
        self, question: _Question, ranked: Sequence[fusion.Ranked]
    ) -> dict[str, Memory]:
        decrypted = {record.memory.id: record.memory for record in question.sensitive}
        wanted = [each.memory_id for each in ranked if each.memory_id not in decrypted]
        if not wanted:
            return decrypted
        return decrypted | await self._search.fetch(question.owner, wanted, question.times)


def _postings(records: Sequence[Record], terms: Sequence[str]) -> bm25.Postings:
    words = {record.memory.id: tokens(record.memory.content) for record in records}
    return bm25.Postings.of(words, terms)


def _similar(records: Sequence[Record], query: Embedding) -> dict[str, float]:
    return {
        record.memory.id: float(record.embedding.vector @ query.vector)
        for record in records
        if record.embedding is not None and record.embedding.model == query.model
    }


def _recalled(ranked: Sequence[fusion.Ranked], found: Mapping[str, Memory]) -> list[Recalled]:
    return [
        Recalled(
            memory=found[each.memory_id],
            score=each.score,
            parts=ScoreParts(keyword=each.keyword, semantic=each.semantic),
        )
        for each in ranked
        # What was forgotten since it was found is not told.
        if each.memory_id in found
    ]
