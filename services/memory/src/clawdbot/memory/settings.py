"""What of the stack's configuration concerns this service; read by `main` alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from clawdbot.runtime.config import Config, ConfigError


@dataclass(frozen=True)
class Settings:
    """Typed settings of the memory service."""

    db_path: Path
    """The SQLite file."""
    index_budget_bytes: int
    """What loaded vector indexes may take together."""
    semantic_weight: float
    """Share of meaning in the fused score."""
    embedding_model: str
    """Name of the model that vectors come from, as inference serves it."""
    query_timeout: timedelta = timedelta(seconds=3)
    """A question's vector takes about 20 ms; longer means that inference is in trouble."""
    passage_timeout: timedelta = timedelta(seconds=5)
    """Memories are kept without vectors after this; they get them later."""

    @classmethod
    def of(cls, config: Config) -> Settings:
        """Return the settings in `config`.

        Raises:
            ConfigError: `memory.storage_type` is one that this version cannot use.
        """
        memory = config.memory
        if memory.storage_type != "sqlite":
            raise ConfigError(
                f"memory.storage_type {memory.storage_type!r} is not available yet in this "
                "version; use sqlite"
            )
        return cls(
            db_path=memory.db_path,
            index_budget_bytes=memory.index_budget_mb * 1024 * 1024,
            semantic_weight=memory.fusion_semantic_weight,
            embedding_model=config.models.embedding,
        )
