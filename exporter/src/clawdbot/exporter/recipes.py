"""Which recipe makes which kind of model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clawdbot.exporter.chat_recipe import make_chat
from clawdbot.exporter.embed_recipe import make_embedder

Recipe = Callable[[Path, str, Path], Mapping[str, Any]]
"""(source file, variant, folder to fill) -> what model.yaml says about the result."""

RECIPES: Mapping[str, Recipe] = {"chat": make_chat, "embedding": make_embedder}
"""By kind."""
