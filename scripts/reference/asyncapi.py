"""`docs/asyncapi.yaml`: every address and message of the bus (AsyncAPI 3.0).

Source: https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import yaml

from clawdbot.runtime.config_sections import BusSettings
from clawdbot.schema.codec import MAX_PAYLOAD_BYTES
from clawdbot.schema.errors import ErrorReply
from clawdbot.schema.subjects import ADVISORIES
from clawdbot.schema.wire import Wire
from scripts.reference import payloads
from scripts.reference.parts import CONTENT_TYPE, Part, message
from scripts.reference.reach import rpcs
from scripts.reference.rpc_part import rpc_part
from scripts.reference.topic_part import advisory_part, topic_part
from scripts.reference.topics import PARAMETERS, RECORDS, TOPICS

NOTICE = "# Generated from the code by `python -m scripts.reference`: do not edit.\n"
DESCRIPTION = f"""\
What the services of Clawdbot say to each other over NATS.

Bodies are MessagePack maps of at most {MAX_PAYLOAD_BYTES:,} bytes; where a schema says `format:
binary`, the value is MessagePack's bin type. Unknown fields are ignored, missing optional ones take
their default, an unknown major version in `Claw-Schema` is refused.

`x-services`, `x-asked-by` and `x-looked-up-by` are whom the broker lets do it (see bus.md), which
may be more than do it; `x-answered-by` is whose code answers, empty while nobody's does.
"""


def document() -> str:
    """Return the document as YAML."""
    return NOTICE + yaml.dump(
        build(), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=100
    )


def build() -> dict[str, Any]:
    """Return the document."""
    parts = [topic_part(topic) for topic in TOPICS]
    parts += [advisory_part(subject) for subject in ADVISORIES]
    parts += [rpc_part(constant, rpc) for constant, rpc in rpcs()]
    whole = Part({}, {}, {"error": message(ErrorReply, "error")})
    for part in parts:
        whole = whole | part
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Clawdbot bus",
            "version": version("clawdbot-schema"),
            "description": DESCRIPTION,
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": {"broker": _server()},
        "channels": dict(sorted(whole.channels.items())),
        "operations": dict(sorted(whole.operations.items())),
        "components": {
            "messages": dict(sorted(whole.messages.items())),
            "parameters": {name: {"description": text} for name, text in PARAMETERS.items()},
            "schemas": payloads.schemas(_models()) | payloads.header_schemas(),
        },
    }


def _server() -> dict[str, str]:
    protocol, _, host = BusSettings().url.partition("://")
    return {"host": host, "protocol": protocol, "description": "The default of `bus.url`."}


def _models() -> list[type[Wire]]:
    found: list[type[Wire]] = [ErrorReply, *RECORDS]
    found += [model for topic in TOPICS for model in topic.messages]
    for _, rpc in rpcs():
        found += [rpc.request, rpc.reply]
        if item := getattr(rpc, "item", None):
            found.append(item)
    return found


class _Plain(yaml.SafeDumper):
    """Values in full instead of anchors, paragraphs as they are."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 -- PyYAML's own
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Plain.add_representer(str, _text)
