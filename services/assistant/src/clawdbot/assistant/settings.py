"""The part of the configuration that this service reads."""

from __future__ import annotations

from dataclasses import dataclass

from clawdbot.runtime.config import Config, ConfigError
from clawdbot.runtime.config_sections import Assistant


@dataclass(frozen=True)
class Settings:
    """What `main` needs to know."""

    model: str
    """Name of the model that answers, as the inference service knows it."""
    context_length: int
    """Tokens that prompt and answer may have together."""
    turn: Assistant
    """Bounds of a turn, as the section `assistant` has them."""

    @classmethod
    def of(cls, config: Config) -> Settings:
        """Return the settings that stand in `config`.

        Raises:
            ConfigError: an answer may take the whole context, so no prompt would ever fit.
        """
        asked, context_length = config.assistant.max_tokens, config.models.context_length
        if asked >= context_length:
            raise ConfigError(
                f"assistant.max_tokens ({asked}) must be smaller than "
                f"models.context_length ({context_length})"
            )
        return cls(config.models.default_name, context_length, config.assistant)
