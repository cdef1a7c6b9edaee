"""The part of the AsyncAPI document that one topic makes."""

from __future__ import annotations

from typing import Any

from clawdbot.schema.streams import ADVISORY
from scripts.reference.parts import Part, channel, channel_link, links_within, message
from scripts.reference.reach import listeners, lookers, pullers, senders
from scripts.reference.topics import Topic


def topic_part(topic: Topic) -> Part:
    """Return what `topic` adds to the document."""
    kind = "stored" if topic.stream else "broadcast"
    names = {model.SCHEMA.partition("/")[0]: model for model in topic.messages}
    found = channel(topic.address, topic.about, names)
    if topic.stream:
        found["x-stream"] = topic.stream.name
    operations = {
        f"{topic.name}.send": _operation(topic.name, "send", names) | _senders(topic),
        f"{topic.name}.receive": _operation(topic.name, "receive", names) | _receivers(topic),
    }
    messages = {name: message(model, kind) for name, model in names.items()}
    return Part({topic.name: found}, operations, messages)


def advisory_part(subject: str) -> Part:
    """Return what the broker's own messages on `subject` add to the document."""
    event = subject.split(".")[-2].lower()
    name = f"advisory.{event}"
    address = subject.replace(">", "{stream}.{consumer}")
    found = channel(address, ADVISORY.purpose, [name]) | {"x-stream": ADVISORY.name}
    operation = _operation(name, "receive", [name])
    # Its fields are NATS', which may add to them.
    body = {
        "name": name,
        "contentType": "application/json",
        "payload": {"type": "object", "description": "An advisory of JetStream."},
    }
    readers = {"x-services": pullers(ADVISORY)}
    return Part({name: found}, {f"{name}.receive": operation | readers}, {name: body})


def _operation(name: str, action: str, messages: Any) -> dict[str, Any]:
    return {
        "action": action,
        "channel": channel_link(name),
        "messages": links_within(name, messages),
    }


def _senders(topic: Topic) -> dict[str, Any]:
    return {"x-services": senders(topic.address)}


def _receivers(topic: Topic) -> dict[str, Any]:
    hearing = set(listeners(topic.address))
    if topic.stream is None:
        return {"x-services": sorted(hearing)}
    hearing.update(pullers(topic.stream))
    return {"x-services": sorted(hearing), "x-looked-up-by": sorted(lookers(topic.stream))}
