"""Who may say and hear what, worked out from the permission table and the code."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import zip_longest

from clawdbot.schema import attachments, executor, inference, memory, skill
from clawdbot.schema import senders as gateway
from clawdbot.schema.permissions import OPERATOR, SERVICES, TABLE
from clawdbot.schema.rpc import Rpc, StreamRpc
from clawdbot.schema.streams import Stream
from scripts.reference.sources import modules, services

AnyRpc = Rpc | StreamRpc  # type: ignore[type-arg]  # of whatever messages

SPEAKERS = (*SERVICES, OPERATOR)
"""Without the provisioner: it may do anything to streams and does nothing with messages."""


def rpcs() -> Iterator[tuple[str, AnyRpc]]:
    """Yield each rpc of the schema with the name of its constant, service by service."""
    for module in (attachments, executor, gateway, inference, memory, skill):
        for name, value in sorted(vars(module).items()):
            if isinstance(value, Rpc | StreamRpc):
                yield name, value


def senders(subject: str) -> list[str]:
    """Return who may publish on `subject`; `{...}` in it stands for any token."""
    return [user for user in SPEAKERS if _any_overlap(subject, TABLE[user].publish)]


def listeners(subject: str) -> list[str]:
    """Return who may subscribe to `subject`."""
    return [user for user in SPEAKERS if _any_overlap(subject, TABLE[user].subscribe)]


def pullers(stream: Stream) -> list[str]:
    """Return who may pull from a consumer of `stream`."""
    return senders(f"$JS.API.CONSUMER.MSG.NEXT.{stream.name}.{{durable}}")


def lookers(stream: Stream) -> list[str]:
    """Return who may read single messages of `stream` by subject or sequence."""
    return senders(f"$JS.API.DIRECT.GET.{stream.name}")


@cache
def answering() -> dict[str, frozenset[str]]:
    """Return the constants of the rpcs that each service's `main` answers."""
    return {
        service: frozenset(
            name
            for path, tree in modules(f"services/{service}", "respond")
            if path.name == "main.py"
            for name in _responded(tree)
        )
        for service in services()
    }


def overlap(one: str, other: str) -> bool:
    """Return whether some subject matches both patterns.

    >>> overlap("claw.in.{tenant}.{message}", "claw.in.>")
    True
    """
    for left, right in zip_longest(one.split("."), other.split(".")):
        if left is None or right is None:
            return False
        if ">" in (left, right):
            return True
        if left != right and not _is_open(left) and not _is_open(right):
            return False
    return True


def _is_open(level: str) -> bool:
    return level == "*" or level.startswith("{")


def _any_overlap(subject: str, allowed: Iterable[str]) -> bool:
    # A second word is the queue group.
    return any(overlap(subject, line.split()[0]) for line in allowed)


def _responded(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr in {"respond", "respond_stream"}:
            first = node.args[0]
            yield first.attr if isinstance(first, ast.Attribute) else ast.unparse(first)
