"""What the AsyncAPI document is put together from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from clawdbot.schema.wire import Wire
from scripts.reference.sources import summary

CONTENT_TYPE = "application/msgpack"


@dataclass(frozen=True)
class Part:
    """Channels, operations and messages, by name."""

    channels: dict[str, Any]
    operations: dict[str, Any]
    messages: dict[str, Any]

    def __or__(self, other: Part) -> Part:
        return Part(
            self.channels | other.channels,
            self.operations | other.operations,
            self.messages | other.messages,
        )


def message(model: type[Wire], kind: str) -> dict[str, Any]:
    """Return a message with the headers of its kind."""
    return {
        "name": model.SCHEMA,
        "summary": summary(model),
        "contentType": CONTENT_TYPE,
        "headers": {
            "allOf": [
                link("schemas", f"headers.{kind}"),
                {"properties": {"Claw-Schema": {"const": model.SCHEMA}}},
            ]
        },
        "payload": link("schemas", model.__name__),
    }


def channel(address: str, about: str, messages: Iterable[str]) -> dict[str, Any]:
    """Return a channel for messages of the components."""
    found = {
        "address": address,
        "description": about,
        "messages": {name: link("messages", name) for name in messages},
    }
    parameters = re.findall(r"{(\w+)}", address)
    if parameters:
        found["parameters"] = {name: link("parameters", name) for name in parameters}
    return found


def link(kind: str, name: str) -> dict[str, str]:
    """Return the reference to one of the components."""
    return {"$ref": f"#/components/{kind}/{name}"}


def channel_link(name: str) -> dict[str, str]:
    """Return the reference to a channel."""
    return {"$ref": f"#/channels/{name}"}


def links_within(channel_name: str, messages: Iterable[str]) -> list[dict[str, str]]:
    """Return the references to messages of a channel."""
    return [{"$ref": f"#/channels/{channel_name}/messages/{name}"} for name in messages]
