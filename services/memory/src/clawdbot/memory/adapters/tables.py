"""The tables, in types that SQLite, PostgreSQL and MySQL all have.

Every key begins with tenant and user, so that an id of one can never meet an id of another. Times
are Unix milliseconds as BIGINT, because two of the three databases drop zones or fractions.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA_VERSION = 1
MAX_BLOB_BYTES = 1_048_576
"""States a length, so that MySQL makes it a MEDIUMBLOB and not one of 64 kB."""

metadata = MetaData()


def _key(name: str, width: int = 64) -> Column[str]:
    return Column(name, String(width), primary_key=True)


def _owner() -> tuple[Column[str], Column[str]]:
    return _key("tenant"), _key("user_id", 255)


schema_version = Table(
    "schema_version",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
)

memories = Table(
    "memories",
    metadata,
    *_owner(),
    _key("id"),
    # NULL when sensitive: content and metadata are then in the sealed columns.
    Column("content", Text),
    Column("embedding", LargeBinary(MAX_BLOB_BYTES)),
    Column("created_at", BigInteger, nullable=False),
    Column("metadata", JSON, nullable=False),
    # NULL exactly while `embedding` is.
    Column("embedding_model", String(255)),
    Column("kind", String(32), nullable=False),
    Column("source", String(16), nullable=False),
    Column("sensitive", Boolean, nullable=False),
    Column("content_hash", String(64), nullable=False),
    Column("term_count", Integer, nullable=False),
    Column("sealed_content", LargeBinary(MAX_BLOB_BYTES)),
    Column("sealed_metadata", LargeBinary(MAX_BLOB_BYTES)),
    # Ends in what recall counts, so that it need not read the rows with their vectors.
    Index("memories_by_time", "tenant", "user_id", "created_at", "sensitive", "term_count", "id"),
    Index("memories_by_model", "embedding_model", "tenant", "user_id", "id"),
)

memory_terms = Table(
    "memory_terms",
    metadata,
    *_owner(),
    _key("term"),
    _key("memory_id"),
    Column("tf", Integer, nullable=False),
    Index("memory_terms_by_memory", "tenant", "user_id", "memory_id"),
)

# No foreign key: it outlives the memory.
forgotten = Table(
    "forgotten",
    metadata,
    *_owner(),
    _key("id"),
    Column("at", BigInteger, nullable=False),
)

lines = Table(
    "lines",
    metadata,
    *_owner(),
    _key("conversation_id"),
    _key("id"),
    Column("position", Integer, nullable=False),
    Column("speaker", String(16), nullable=False),
    Column("content", Text, nullable=False),
    Column("said_at", BigInteger, nullable=False),
    UniqueConstraint("tenant", "user_id", "conversation_id", "position", name="lines_in_order"),
)

conversations = Table(
    "conversations",
    metadata,
    *_owner(),
    _key("id"),
    Column("name", String(256)),
    Column("started_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("conversations_by_time", "tenant", "user_id", "updated_at", "id"),
)

memory_shards = Table(
    "memory_shards",
    metadata,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),
)

tenant_keys = Table(
    "tenant_keys",
    metadata,
    _key("tenant"),
    Column("wrapped_key", LargeBinary(MAX_BLOB_BYTES), nullable=False),
)
