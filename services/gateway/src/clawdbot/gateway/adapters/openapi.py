"""The OpenAPI document: what is served, as programs read it."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from clawdbot.gateway.adapters.pages import Page

PATH = "/openapi.json"
MESSAGES_PATH = "/api/messages"
"""What the document calls the path that `platforms.webhook.path` sets."""


def document_text() -> str:
    """Return the document as it is written, in YAML."""
    return files("clawdbot.gateway.adapters").joinpath("openapi.yaml").read_text("utf-8")


@cache
def load_document(messages_path: str) -> Page:
    """Return the document as it is served, with the path that is configured."""
    document: dict[str, Any] = yaml.safe_load(document_text())
    document["paths"] = {
        _renamed(path, messages_path): item for path, item in document["paths"].items()
    }
    content = json.dumps(document, ensure_ascii=False).encode()
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    return Page(content, "application/json", tag)


def _renamed(path: str, messages_path: str) -> str:
    is_messages = path == MESSAGES_PATH or path.startswith(f"{MESSAGES_PATH}/")
    return f"{messages_path}{path.removeprefix(MESSAGES_PATH)}" if is_messages else path
