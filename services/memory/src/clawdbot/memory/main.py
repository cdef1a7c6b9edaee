"""Starts the memory service: `python -m clawdbot.memory.main`."""

from __future__ import annotations

from clawdbot.memory.adapters.encryption import MasterKey
from clawdbot.memory.adapters.inference_embedder import InferenceEmbedder
from clawdbot.memory.adapters.key_ring import KeyRing
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
from clawdbot.memory.settings import Settings
from clawdbot.runtime.config import Config
from clawdbot.runtime.secrets import MEMORY_MASTER
from clawdbot.runtime.service import Runtime, main
from clawdbot.schema import memory as rpc


async def run(config: Config) -> None:
    """Serve until stopped."""
    settings = Settings.of(config)
    async with Runtime.open("memory", config) as runtime:
        keys = KeyRing(MasterKey(runtime.secrets.read(MEMORY_MASTER)))
        database = await runtime.enter(SQLDatabase.open(settings.db_path))
        async with database.read("check") as connection:
            await keys.check(connection)

        store = SQLMemoryStore(database, keys)
        search = SQLMemorySearch(database, keys)
        backlog = SQLBacklog(database, keys)
        index = OwnerIndexes(search, settings.index_budget_bytes)
        embedder = InferenceEmbedder(runtime.bus, settings.embedding_model)
        archive = Archive(store, backlog, index)

        memories = Memories(archive, store, embedder, settings.passage_timeout)
        recall = Recall(
            store,
            search,
            index,
            embedder,
            ranking=Ranking(settings.semantic_weight),
            embed_timeout=settings.query_timeout,
        )
        conversations = Conversations(SQLConversationStore(database))
        reembedding = Reembedding(backlog, archive, embedder)
        runtime.health.warn_when("vectors", lambda: reembedding.problem)

        await runtime.respond(rpc.REMEMBER, memories.remember)
        await runtime.respond(rpc.RECALL, recall.recall)
        await runtime.respond(rpc.FORGET, memories.forget)
        await runtime.respond(rpc.LIST, memories.list_newest)
        await runtime.respond(rpc.APPEND, conversations.append)
        await runtime.respond(rpc.HISTORY, conversations.history)
        await runtime.respond(rpc.CONVERSATIONS, conversations.list_latest)
        await runtime.respond(rpc.FORGET_CONVERSATION, conversations.forget)
        await runtime.respond(rpc.ERASE, memories.erase)
        runtime.spawn(reembedding.run(), name="re-embedding")
        await runtime.until_stopped()


def cli() -> None:
    """Run as a program."""
    main("memory", run)


if __name__ == "__main__":
    cli()
