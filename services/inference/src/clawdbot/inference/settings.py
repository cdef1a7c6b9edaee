"""What this service takes from the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clawdbot.runtime.config import Config


@dataclass(frozen=True)
class Settings:
    """Models and limits of this replica."""

    directory: Path
    chat: str
    """The chat model's name as its rpc target."""
    chat_path: Path | None
    """The file to load, when it lies outside of `directory`'s layout."""
    embedding: str
    context_length: int
    """Tokens; the model's own limit still holds."""
    threads: int
    slots: int
    max_queue: int

    @classmethod
    def of(cls, config: Config) -> Settings:
        """Return the settings in `config`."""
        return cls(
            directory=config.models.directory,
            chat=config.models.default_name,
            chat_path=config.models.default_path,
            embedding=config.models.embedding,
            context_length=config.models.context_length,
            threads=config.models.threads,
            slots=config.inference.slots,
            max_queue=config.inference.max_queue,
        )
