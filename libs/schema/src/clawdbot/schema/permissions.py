"""Who may say and hear what on the bus: one table, from which the broker's users are rendered.

A service that is not in a line cannot do it, whatever its code says. Wildcards end at a service's
own subjects; replies are allowed only to requests that were received.
"""

from __future__ import annotations

from dataclasses import dataclass

from clawdbot.schema import subjects
from clawdbot.schema.streams import (
    AUDIT,
    BUCKETS,
    DEADLETTER,
    INBOUND,
    OBJECT_STORE,
    OUTBOUND,
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


def _buckets_of(owner: str) -> tuple[str, ...]:
    return tuple(line for bucket in BUCKETS if bucket.owner == owner for line in _bucket(bucket))


_BLOBS = (
    f"$O.{OBJECT_STORE}.>",
    f"$JS.API.STREAM.INFO.OBJ_{OBJECT_STORE}",
    f"$JS.API.DIRECT.GET.OBJ_{OBJECT_STORE}",
    f"$JS.API.DIRECT.GET.OBJ_{OBJECT_STORE}.>",
)

TABLE: dict[str, Permission] = {
    "gateway": Permission(
        publish=(
            subjects.ALL_INBOUND,
            subjects.ALL_DEAD,
            subjects.ALL_SIGNALS,
            subjects.rpc_of("executor"),
            subjects.rpc_of("memory"),
            subjects.rpc_of("inference"),
            subjects.calls_of("inference"),
            *_read(INBOUND),
            *_read(OUTBOUND),
            *_pull(OUTBOUND.name, "*"),
            *_buckets_of("gateway"),
            *_BLOBS,
        ),
        subscribe=(*_own("gateway"), subjects.ALL_DELTAS, subjects.ALL_OUTBOUND),
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
            subjects.rpc_of("inference"),
            subjects.calls_of("inference"),
            subjects.rpc_of("memory"),
            subjects.rpc_of("skill"),
            *(subjects.rpc("executor", verb) for verb in ("plan", "run", "status", "cancel")),
            *_read(INBOUND),
            *_read(TURNS),
            *_read(OUTBOUND),
            *_pull(INBOUND.name, TURN_WORKER.durable),
            *_buckets_of("assistant"),
            *_BLOBS,
        ),
        subscribe=(*_own("assistant"), subjects.ALL_SIGNALS),
        responds=True,
    ),
    "inference": Permission(publish=_BLOBS, subscribe=_own("inference"), responds=True),
    "memory": Permission(
        publish=(
            subjects.rpc_of_verb("inference", "embed"),
            subjects.ALL_MEMORY_CHANGES,
            *_BLOBS,
        ),
        subscribe=(*_own("memory"), subjects.ALL_MEMORY_CHANGES),
        responds=True,
    ),
    "executor": Permission(
        publish=(subjects.ALL_AUDIT, *_read(AUDIT), *_buckets_of("executor"), *_BLOBS),
        subscribe=_own("executor"),
        responds=True,
    ),
    PROVISIONER: Permission(publish=("$JS.API.>",), subscribe=(f"{inbox(PROVISIONER)}.>",)),
    OPERATOR: Permission(
        publish=(
            "$JS.API.>",
            "$SRV.>",
            subjects.ALL_INBOUND,
            subjects.rpc("inference", "models"),
            subjects.rpc("inference", "load"),
            subjects.rpc("inference", "unload"),
            f"$JS.ACK.{DEADLETTER.name}.>",
        ),
        subscribe=(f"{inbox(OPERATOR)}.>", subjects.ALL_OUTBOUND),
    ),
}
