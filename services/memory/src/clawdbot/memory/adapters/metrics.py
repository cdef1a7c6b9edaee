"""Names of this service's spans and metrics, in one place; no label names a tenant or user."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

SPAN_SQL = "memory.sql."
"""Followed by the verb of the statement, such as `memory.sql.recall`."""
SPAN_FAISS_SEARCH = "memory.faiss.search"
SPAN_FAISS_LOAD = "memory.faiss.load"

kept = Counter("clawdbot_memory_kept_total", "Memories stored", ["embedded"])
embed_failures = Counter(
    "clawdbot_memory_embed_failures_total",
    "Embeddings that inference did not give",
    ["role", "code"],
)
index_loads = Counter("clawdbot_memory_index_loads_total", "Vector indexes read from SQL")
index_evictions = Counter(
    "clawdbot_memory_index_evictions_total", "Vector indexes dropped to stay within the budget"
)
index_bytes = Gauge("clawdbot_memory_index_bytes", "Memory that loaded vector indexes take")
