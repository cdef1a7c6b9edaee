"""The part of the AsyncAPI document that one rpc makes."""

from __future__ import annotations

from typing import Any

from clawdbot.schema import inference, skill, subjects
from clawdbot.schema.rpc import StreamRpc
from scripts.reference.parts import Part, channel, channel_link, link, links_within, message
from scripts.reference.reach import AnyRpc, answering, senders
from scripts.reference.sources import summary
from scripts.reference.topics import address

TARGETS = {
    (inference.SERVICE, "chat"): "model",
    (inference.SERVICE, "count"): "model",
    (inference.SERVICE, "embed"): "model",
    (inference.SERVICE, "infer"): "model",
    (inference.SERVICE, "rerank"): "model",
    (skill.SERVICE, "execute"): "skill",
}
"""What stands before the verb in the address of those rpcs that have several targets."""


def rpc_part(constant: str, rpc: AnyRpc) -> Part:
    """Return what `rpc`, which the code knows as `constant`, adds to the document."""
    name = f"{rpc.service}.{rpc.verb}"
    request = f"{name}.request"
    answers = _answers(name, rpc)
    replies = [*answers, "error"]
    channels = {
        name: channel(_address(rpc), summary(rpc.request), [request]),
        # Its address is the caller's inbox, which each request carries.
        f"{name}.reply": {
            "address": None,
            "messages": {reply: link("messages", reply) for reply in replies},
        },
    }
    operation = {
        "action": "receive",
        "channel": channel_link(name),
        "summary": summary(rpc.request),
        "messages": links_within(name, [request]),
        "reply": {
            "channel": channel_link(f"{name}.reply"),
            "messages": links_within(f"{name}.reply", replies),
        },
        "x-asked-by": senders(_address(rpc)),
        "x-answered-by": [rpc.service] if _is_answered(constant, rpc) else [],
    }
    asked = message(rpc.request, _kind_of_request(rpc))
    return Part(channels, {name: operation}, {request: asked, **answers})


def _address(rpc: AnyRpc) -> str:
    target = TARGETS.get((rpc.service, rpc.verb))
    given = None if target is None else f"_{target}"
    return address(subjects.rpc, rpc.service, rpc.verb, target=given)


def _answers(name: str, rpc: AnyRpc) -> dict[str, Any]:
    if isinstance(rpc, StreamRpc):
        return {
            f"{name}.item": message(rpc.item, "item"),
            f"{name}.reply": message(rpc.reply, "closing"),
        }
    return {f"{name}.reply": message(rpc.reply, "reply")}


def _kind_of_request(rpc: AnyRpc) -> str:
    if isinstance(rpc, StreamRpc):
        return "streamed-request"
    return "request-for-somebody" if rpc.needs_principal else "request"


def _is_answered(constant: str, rpc: AnyRpc) -> bool:
    return constant in answering().get(rpc.service, ())
