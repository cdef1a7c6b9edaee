"""Memories as rows and back; sensitive fields are sealed on the way in, opened on the way out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from sqlalchemy import Row

from clawdbot.memory.adapters.encryption import DataKey
from clawdbot.memory.domain.owner import Owner
from clawdbot.memory.domain.records import Embedding, Record, Vector
from clawdbot.schema.memory import Memory, MemorySource

VECTOR_DTYPE: Final = np.dtype("<f4")
WITHHELD: Final = "[sensitive]"
"""Stands for the content of a sensitive memory where it was not asked for."""
CONTENT, METADATA, VECTOR = "content", "metadata", "embedding"
"""Names of the fields, as sealed values are bound to them."""


def content_hash(memory: Memory, key: DataKey | None) -> str:
    """Return what tells whether two contents are equal; keyed when the memory is sensitive."""
    # A plain hash of something short and sensitive could be guessed.
    if key is not None:
        return key.fingerprint(memory.content)
    return hashlib.sha256(memory.content.encode()).hexdigest()


def row_of(owner: Owner, record: Record, key: DataKey | None) -> dict[str, Any]:
    """Return the columns of a new memory; `key` is given when it is sensitive."""
    memory, embedding = record.memory, record.embedding
    row: dict[str, Any] = {
        "tenant": owner.tenant,
        "user_id": owner.user,
        "id": memory.id,
        "content": memory.content,
        "metadata": memory.metadata,
        "created_at": memory.created_at_ms,
        "kind": memory.kind,
        "source": memory.source.value,
        "sensitive": memory.sensitive,
        "content_hash": content_hash(memory, key),
        "term_count": record.terms.length,
        "sealed_content": None,
        "sealed_metadata": None,
        **embedding_columns(owner, memory.id, embedding, key),
    }
    if key is not None:
        row |= _sealed(owner, memory, key)
    return row


def embedding_columns(
    owner: Owner, memory_id: str, embedding: Embedding | None, key: DataKey | None
) -> dict[str, Any]:
    """Return the columns of a vector; sealed as well, because texts can be read from vectors."""
    if embedding is None:
        return {"embedding": None, "embedding_model": None}
    blob = embedding.vector.astype(VECTOR_DTYPE).tobytes()
    if key is not None:
        blob = key.seal(blob, *_place(owner, memory_id, VECTOR))
    return {"embedding": blob, "embedding_model": embedding.model}


def term_rows(owner: Owner, record: Record) -> list[dict[str, Any]]:
    """Return the rows by which the memory's words find it."""
    place = {"tenant": owner.tenant, "user_id": owner.user, "memory_id": record.memory.id}
    return [{**place, "term": term, "tf": count} for term, count in record.terms.counts.items()]


def memory_in(row: Row[Any], key: DataKey | None = None) -> Memory:
    """Return the memory in `row`; a sensitive one without its content unless `key` is given."""
    content, extra = row.content, row.metadata
    if row.sensitive:
        content, extra = (WITHHELD, {}) if key is None else _opened(row, key)
    return Memory(
        id=row.id,
        content=content,
        created_at_ms=row.created_at,
        kind=row.kind,
        source=MemorySource(row.source),
        sensitive=row.sensitive,
        metadata=extra,
    )


def record_in(row: Row[Any], key: DataKey) -> Record:
    """Return the sensitive memory in `row` with its vector, opened with `key`."""
    memory = memory_in(row, key)
    if row.embedding is None:
        return Record(memory)
    blob = key.open(row.embedding, *_place(_owner(row), row.id, VECTOR))
    return Record(memory, Embedding(vector_in(blob), row.embedding_model))


def vector_in(blob: bytes) -> Vector:
    """Return the vector of a blob that is not sealed."""
    return np.frombuffer(blob, VECTOR_DTYPE).astype(np.float32, copy=False)


def _sealed(owner: Owner, memory: Memory, key: DataKey) -> Mapping[str, Any]:
    extra = json.dumps(memory.metadata, ensure_ascii=False).encode()
    return {
        "content": None,
        "metadata": {},
        "sealed_content": key.seal(memory.content.encode(), *_place(owner, memory.id, CONTENT)),
        "sealed_metadata": key.seal(extra, *_place(owner, memory.id, METADATA)),
    }


def _opened(row: Row[Any], key: DataKey) -> tuple[str, dict[str, Any]]:
    content = key.open(row.sealed_content, *_place(_owner(row), row.id, CONTENT))
    extra = key.open(row.sealed_metadata, *_place(_owner(row), row.id, METADATA))
    return content.decode(), json.loads(extra)


def _owner(row: Row[Any]) -> Owner:
    return Owner(row.tenant, row.user_id)


def _place(owner: Owner, memory_id: str, field: str) -> tuple[str, ...]:
    return owner.tenant, owner.user, memory_id, field
