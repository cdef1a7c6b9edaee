"""What model.yaml says; unknown keys are somebody else's notes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from clawdbot.schema.inference import Role


class _Card(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    version: Annotated[int, Field(ge=1)]
    variant: str = ""
    context_length: Annotated[int, Field(ge=8)]
    """Tokens of one run that the model is meant for."""
    files: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = {}
    """File name -> SHA-256, hex; checked at load. Files that are not listed are not checked."""


class ChatCard(_Card):
    """A model that continues conversations."""

    kind: Literal["chat"]
    stop_token_ids: Annotated[tuple[int, ...], Field(min_length=1)]
    """Tokens that end an answer."""
    max_context_length: int | None = None
    """Tokens that the weights can handle; `context_length` when not given."""
    bos_token: str = ""
    eos_token: str = ""
    """Given to the chat template."""

    def capped(self, wanted: int) -> int:
        """Return the context length to use when `wanted` is configured."""
        return min(wanted, self.max_context_length or self.context_length)


class EmbeddingCard(_Card):
    """A model that turns texts into vectors."""

    kind: Literal["embedding"]
    dim: Annotated[int, Field(ge=1)]
    roles: dict[Role, str] = {}
    """What the model wants to read before a text, by what the text is to it."""
    padding_token_id: int = 0
