"""Who may say and hear what on the bus: one table, from which the broker's users are rendered.

A service that is not in a line cannot do it, whatever its code says, with one limit of NATS: the
broker sends what is read from a stream to whatever reply address the reader names, and does not ask
whether the reader might publish there. Such messages have no caller's inbox to be answered at, and
the runtime's servers ignore requests without one (`clawdbot.runtime.rpc_server`).
"""

from __future__ import annotations

from dataclasses import dataclass

from clawdbot.schema import subjects
from clawdbot.schema.streams import (
    AUDIT,
    BUCKETS,
    DEADLETTER,
    INBOUND,
    OBJECT_STREAM,
    OUTBOUND,
    TOKENS,
    TURN_WORKER,
    TURNS,
    Bucket,
    Stream,
)

SERVICES = ("gateway", "assistant", "inference", "memory", "executor")
PROVISIONER = "provisioner"
OPERATOR = "operator"
"""The `clawdbot` command: reads, redrives dead letters, asks services how they are."""
USERS = (*SERVICES, PROVISIONER, OPERATOR)


@dataclass(frozen=True)
class Permission:
    """What one user of the bus may publish and subscribe to."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    """A second word restricts the subscription to that queue group."""
    responds: bool = False
    """Whether it may answer requests that it received."""


def inbox(user: str) -> str:
    """Return the prefix under which answers reach `user` and nobody else."""
    return f"_INBOX_{user}"


def _own(service: str) -> tuple[str, ...]:
    """What every service hears: its answers, its rpc, its callers, and the micro protocol."""
    verbs = tuple(f"$SRV.{verb}{rest}" for verb in ("PING", "INFO", "STATS") for rest in ("", ".>"))
    return (
        f"{inbox(service)}.>",
        f"{subjects.rpc_of(service)} {service}",
        subjects.calls_of(service),
        *verbs,
    )


def _read(stream: Stream) -> tuple[str, ...]:
    return (f"$JS.API.DIRECT.GET.{stream.name}", f"$JS.API.DIRECT.GET.{stream.name}.>")


def _pull(stream: str, durable: str) -> tuple[str, ...]:
    return (
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}",
        f"$JS.API.CONSUMER.INFO.{stream}.{durable}",
        f"$JS.ACK.{stream}.{durable}.>",
    )


def _bucket(bucket: Bucket) -> tuple[str, ...]:
    return (
        f"$KV.{bucket.name}.>",
        f"$JS.API.STREAM.INFO.{bucket.stream}",
        f"$JS.API.DIRECT.GET.{bucket.stream}",
        f"$JS.API.DIRECT.GET.{bucket.stream}.>",
    )


def _get_blobs() -> tuple[str, ...]:
    return (f"$JS.API.DIRECT.GET.{OBJECT_STREAM}", f"$JS.API.DIRECT.GET.{OBJECT_STREAM}.>")


def _put_blobs() -> tuple[str, ...]:
    # An upload that was not needed is withdrawn by a rollup message: no right to purge is needed.
    return (f"{subjects.BLOB_CONTENT}.*", f"{subjects.BLOB_INFO}.*")


def _buckets_of(owner: str) -> tuple[str, ...]:
    return tuple(line for bucket in BUCKETS if bucket.owner == owner for line in _bucket(bucket))


def _ask(service: str, *verbs: str) -> tuple[str, ...]:
    return tuple(subjects.rpc(service, verb) for verb in verbs)


def _ask_any(service: str, *verbs: str) -> tuple[str, ...]:
    """Verbs of whatever model or skill."""
    return tuple(subjects.rpc_of_verb(service, verb) for verb in verbs)


TABLE: dict[str, Permission] = {
    "gateway": Permission(
        publish=(
            subjects.ALL_INBOUND,
            subjects.ALL_DEAD,
            subjects.ALL_SIGNALS,
            subjects.edge_counts(),
            *_ask("executor", "decide", "approvals", "status"),
            *_ask("memory", "list", "forget", "erase"),
            *_ask("memory", "conversations", "history", "forget_conversation"),
            *_ask("inference", "models"),
            *_ask_any("inference", "chat", "count", "embed"),
            subjects.calls_of("inference"),
            *_read(INBOUND),
            *_read(OUTBOUND),
            *_pull(OUTBOUND.name, "*"),
            *_buckets_of("gateway"),
            *_get_blobs(),
            *_put_blobs(),
        ),
        subscribe=(
            *_own("gateway"),
            subjects.ALL_DELTAS,
            subjects.ALL_OUTBOUND,
            subjects.edge_counts(),
        ),
        responds=True,
    ),
    "assistant": Permission(
        publish=(
            subjects.ALL_TURNS,
            subjects.ALL_OUTBOUND,
            subjects.ALL_DEAD,
            subjects.ALL_DELTAS,
            # A due schedule enters where every message does.
            subjects.ALL_INBOUND,
            *_ask_any("inference", "chat", "count", "embed", "rerank"),
            subjects.calls_of("inference"),
            *_ask("memory", "remember", "recall", "forget", "list", "append", "history"),
            *_ask_any("skill", "execute"),
            *_ask("gateway", "fetch_attachment"),
            *_ask("executor", "plan", "run", "status", "cancel"),
            *_read(INBOUND),
            *_read(TURNS),
            *_read(OUTBOUND),
            *_pull(INBOUND.name, TURN_WORKER.durable),
            *_buckets_of("assistant"),
        ),
        subscribe=(*_own("assistant"), subjects.ALL_SIGNALS),
        responds=True,
    ),
    "inference": Permission(publish=(), subscribe=_own("inference"), responds=True),
    "memory": Permission(
        publish=(
            *_ask_any("inference", "embed"),
            subjects.ALL_MEMORY_CHANGES,
        ),
        subscribe=(*_own("memory"), subjects.ALL_MEMORY_CHANGES),
        responds=True,
    ),
    "executor": Permission(
        publish=(subjects.ALL_AUDIT, *_read(AUDIT), *_buckets_of("executor")),
        subscribe=_own("executor"),
        responds=True,
    ),
    PROVISIONER: Permission(publish=("$JS.API.>",), subscribe=(f"{inbox(PROVISIONER)}.>",)),
    OPERATOR: Permission(
        publish=(
            "$JS.API.INFO",
            "$JS.API.STREAM.LIST",
            "$JS.API.STREAM.NAMES",
            "$JS.API.STREAM.INFO.*",
            "$JS.API.STREAM.MSG.GET.*",
            "$JS.API.DIRECT.GET.>",
            "$JS.API.CONSUMER.INFO.>",
            "$JS.API.CONSUMER.LIST.*",
            f"$JS.API.STREAM.MSG.DELETE.{DEADLETTER.name}",
            "$SRV.>",
            # What it is about to do; the stream takes no deletion.
            subjects.ALL_OPERATOR_DEEDS,
            # What it redrives.
            subjects.ALL_INBOUND,
            subjects.ALL_OUTBOUND,
            # What it makes and revokes; a record of a token gives nobody access.
            f"$KV.{TOKENS.name}.>",
            *_ask("inference", "models", "load", "unload"),
            *_ask(
                "gateway",
                "senders",
                "approve_sender",
                "remove_sender",
                "link_senders",
                "unlink_sender",
            ),
        ),
        subscribe=(f"{inbox(OPERATOR)}.>",),
    ),
}
