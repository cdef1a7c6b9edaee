from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from clawdbot.memory.adapters.encryption import MasterKey
from clawdbot.memory.adapters.key_ring import KeyRing
from clawdbot.memory.adapters.recording_embedder import RecordingEmbedder
from clawdbot.memory.adapters.sql_backlog import SQLBacklog
from clawdbot.memory.adapters.sql_conversations import SQLConversationStore
from clawdbot.memory.adapters.sql_database import SQLDatabase
from clawdbot.memory.adapters.sql_search import SQLMemorySearch
from clawdbot.memory.adapters.sql_store import SQLMemoryStore
from clawdbot.memory.adapters.vector_index import OwnerIndexes
from clawdbot.memory.handlers.archive import Archive
from clawdbot.memory.handlers.conversations import Conversations
from clawdbot.memory.handlers.memories import Memories
from clawdbot.memory.handlers.recall import Ranking, Recall
from clawdbot.memory.handlers.reembedding import Reembedding
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.ids import Channel, ConversationId, Tenant
from clawdbot.schema.memory import (
    Memory,
    RecallReply,
    RecallRequest,
    RememberReply,
    RememberRequest,
)
from clawdbot.schema.principal import Principal, Scope
from clawdbot.schema.rpc import Call

PATIENT = timedelta(seconds=30)
USER_SCOPES = frozenset({Scope.CHAT, Scope.MEMORY_READ, Scope.MEMORY_WRITE})


def call(
    user: str = "ann",
    tenant: str = "acme",
    conversation: str = "room",
    scopes: frozenset[Scope] = USER_SCOPES,
) -> Call:
    principal = Principal(
        tenant=Tenant(tenant),
        user=user,
        scopes=scopes,
        conversation_id=ConversationId(conversation),
        channel=Channel("webhook"),
    )
    return Call(Deadline.after(60), principal)


def memory(memory_id: str, content: str, at_ms: int = 1_000, **rest: object) -> Memory:
    return Memory.model_validate(
        {"id": memory_id, "content": content, "created_at_ms": at_ms, **rest}
    )


def remembering(*memories: Memory) -> RememberRequest:
    return RememberRequest(memories=memories)


@dataclass
class Service:
    """The whole service without its bus, on a real SQLite file."""

    database: SQLDatabase
    keys: KeyRing
    embedder: RecordingEmbedder
    index: OwnerIndexes
    memories: Memories
    recall: Recall
    conversations: Conversations
    reembedding: Reembedding

    async def keep(self, *memories: Memory, by: Call | None = None) -> RememberReply:
        return await self.memories.remember(remembering(*memories), by or call())

    async def ask(self, query: str, by: Call | None = None, **rest: object) -> RecallReply:
        request = RecallRequest.model_validate({"query": query, **rest})
        return await self.recall.recall(request, by or call())

    async def found(self, query: str, by: Call | None = None, **rest: object) -> list[str]:
        reply = await self.ask(query, by, **rest)
        return [each.memory.id for each in reply.memories]


@asynccontextmanager
async def opened(
    path: Path,
    *,
    master: bytes = b"6b" * 32,
    ranking: Ranking = Ranking(0.6),  # noqa: B008 -- frozen
    budget_bytes: int = 2**30,
) -> AsyncIterator[Service]:
    keys = KeyRing(MasterKey(master))
    async with SQLDatabase.open(path) as database:
        store, search = SQLMemoryStore(database, keys), SQLMemorySearch(database, keys)
        backlog, embedder = SQLBacklog(database, keys), RecordingEmbedder()
        index = OwnerIndexes(search, budget_bytes)
        archive = Archive(store, backlog, index)
        yield Service(
            database,
            keys,
            embedder,
            index,
            Memories(archive, store, embedder, PATIENT),
            Recall(store, search, index, embedder, ranking=ranking, embed_timeout=PATIENT),
            Conversations(SQLConversationStore(database)),
            Reembedding(backlog, archive, embedder),
        )
