"""Every stream, consumer and bucket: what it is for, how long it keeps, and who alone writes it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from clawdbot.schema import subjects
from clawdbot.schema.ids import Channel


class Storage(StrEnum):
    """Where the broker keeps it."""

    FILE = "file"
    MEMORY = "memory"


@dataclass(frozen=True)
class Stream:
    """A JetStream stream with limits retention: kept by age, whoever has read it."""

    name: str
    subjects: tuple[str, ...]
    owner: str
    """The service that writes it."""
    max_age: timedelta
    purpose: str


@dataclass(frozen=True)
class Consumer:
    """A durable pull consumer; provisioned, never created by whoever pulls from it."""

    stream: str
    durable: str
    owner: str
    filter_subject: str


@dataclass(frozen=True)
class Bucket:
    """A key-value bucket, written by one owner."""

    name: str
    owner: str
    storage: Storage
    ttl: timedelta | None
    purpose: str
    entries_expire: bool = False
    """Whether an entry may have an end of its own, sooner than `ttl`."""

    @property
    def stream(self) -> str:
        """The stream beneath it."""
        return f"KV_{self.name}"


INBOUND = Stream(
    "INBOUND",
    (subjects.ALL_INBOUND,),
    "gateway",
    timedelta(days=3),
    "accepted messages; also the dedupe record and the replay log",
)
TURNS = Stream(
    "TURNS",
    (subjects.ALL_TURNS,),
    "assistant",
    timedelta(days=3),
    "each decision and result of a turn, before its effect",
)
OUTBOUND = Stream(
    "OUTBOUND",
    (subjects.ALL_OUTBOUND,),
    "assistant",
    timedelta(days=3),
    "replies, each part once",
)
DEADLETTER = Stream(
    "DEADLETTER",
    (subjects.ALL_DEAD,),
    "runtime",
    timedelta(days=30),
    "what was given up on, whole",
)
ADVISORY = Stream(
    "ADVISORY",
    subjects.ADVISORIES,
    "broker",
    timedelta(days=7),
    "the broker's word on deliveries it gave up; as core messages they would be lost",
)
AUDIT = Stream(
    "AUDIT",
    (subjects.ALL_AUDIT, subjects.ALL_OPERATOR_DEEDS),
    "executor",
    timedelta(days=365),
    "system-level operations and operators' deeds, written before the deed",
)
MEMORY_CHANGES = Stream(
    "MEMORY_CHANGES",
    (subjects.ALL_MEMORY_CHANGES,),
    "memory",
    timedelta(hours=1),
    "hints that a shard moved on",
)
STREAMS = (INBOUND, TURNS, OUTBOUND, DEADLETTER, ADVISORY, AUDIT, MEMORY_CHANGES)

TURN_WORKER = Consumer("INBOUND", "assistant", "assistant", subjects.ALL_INBOUND)


def delivery(channel: Channel) -> Consumer:
    """Return the consumer that delivers one channel account's replies."""
    durable = f"deliver-{channel}"
    return Consumer("OUTBOUND", durable, "gateway", subjects.outbound_of_channel(channel))


def leases(stream: Stream) -> Bucket:
    """Return who holds which conversation of `stream`; entries vanish unless renewed."""
    owner = "assistant" if stream is INBOUND else "gateway"
    return Bucket(
        f"leases_{stream.name.lower()}",
        owner,
        # In memory they would be gone after a restart of a single broker, and nobody may create
        # them anew but the provisioner.
        Storage.FILE,
        None,
        f"who works on which conversation of {stream.name}; the TTL is the runtime's setting",
    )


def progress(stream: Stream) -> Bucket:
    """Return how far each conversation of `stream` is done; outlives the stream's messages."""
    owner = "assistant" if stream is INBOUND else "gateway"
    return Bucket(
        f"progress_{stream.name.lower()}",
        owner,
        Storage.FILE,
        2 * stream.max_age,
        f"how far each conversation of {stream.name} is done",
    )


TOKENS = Bucket(
    "tokens",
    "gateway",
    Storage.FILE,
    None,
    "API tokens made and revoked; an entry ends with its token",
    entries_expire=True,
)
DELIVERIES = Bucket(
    "deliveries",
    "gateway",
    Storage.FILE,
    OUTBOUND.max_age,
    "how far each reply is sent to its platform, and its draft",
)
SENDERS = Bucket("senders", "gateway", Storage.FILE, None, "who was let in, and who is one person")
PAIRING = Bucket(
    "pairing", "gateway", Storage.FILE, timedelta(hours=1), "senders who wait with a code"
)
IDEMPOTENCY = Bucket(
    "idempotency", "gateway", Storage.FILE, timedelta(hours=24), "keys of API requests"
)
CONNECTION_TTL = timedelta(seconds=8)
"""People wait while a dead gateway keeps a connection: another one has it within 15 seconds."""
CONNECTIONS = Bucket(
    "connections",
    "gateway",
    Storage.FILE,
    CONNECTION_TTL,
    "which gateway holds the connection to which account; entries vanish unless renewed",
)
BUCKETS = (
    CONNECTIONS,
    leases(INBOUND),
    progress(INBOUND),
    leases(OUTBOUND),
    progress(OUTBOUND),
    DELIVERIES,
    SENDERS,
    PAIRING,
    TOKENS,
    IDEMPOTENCY,
    # Longer than a message can be delivered again, and so planned again.
    Bucket("approvals", "executor", Storage.FILE, timedelta(days=7), "second confirmations"),
    Bucket("schedules", "assistant", Storage.FILE, None, "due times"),
)
OBJECT_STORE = "blobs"
"""What is larger than a message may be: referenced by sha256, size and media type."""
OBJECT_STREAM = f"OBJ_{OBJECT_STORE}"
"""The stream beneath it (NATS ADR-20)."""
