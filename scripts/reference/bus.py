"""`docs/bus.md`: streams, buckets, consumers, and who may say and hear what."""

from __future__ import annotations

from datetime import timedelta

from clawdbot.runtime.provision import MAX_ACK_PENDING
from clawdbot.schema.codec import MAX_PAYLOAD_BYTES
from clawdbot.schema.ids import Channel
from clawdbot.schema.permissions import TABLE, Permission
from clawdbot.schema.streams import (
    BUCKETS,
    CONNECTIONS,
    INBOUND,
    OBJECT_STORE,
    OUTBOUND,
    STREAMS,
    TURN_WORKER,
    Bucket,
    Consumer,
    Stream,
    delivery,
    leases,
)
from scripts.reference.markdown import code, codes, page, table
from scripts.reference.reach import lookers, pullers

INTRODUCTION = f"""\
Made by `clawdbot.runtime.provision` from `clawdbot.schema.streams`, and by nothing else. What each
message holds: [asyncapi.yaml](asyncapi.yaml). A message may have {MAX_PAYLOAD_BYTES:,} bytes; what
is larger goes through the object store `{OBJECT_STORE}`."""

STREAM_RULES = """\
All are kept in files on `bus.replicas` nodes, by age (limits retention). Who may pull and look up
is from the permissions below."""

CONSUMER_RULES = f"""\
Durable, pulled, acknowledged one by one. A delivery that is not acknowledged is repeated after
`bus.ack_wait_s`, without end, and {MAX_ACK_PENDING:,} may be on their way. Attempts at a message
are counted by the runtime (`bus.max_attempts`)."""

PERMISSIONS = """\
From `clawdbot.schema.permissions`, which the broker's users are rendered from: what is not listed,
the broker refuses. A second word after a subscription restricts it to that queue group. Who may
answer may do so only to requests that it received."""

_CHANNEL = Channel("CHANNEL")


def document() -> str:
    """Return the document."""
    return page(
        "The bus", INTRODUCTION, _streams(), _consumers(), _buckets(), _summary(), *_permissions()
    )


def _streams() -> str:
    header = ("stream", "subjects", "written by", "pulled by", "looked up by", "kept", "purpose")
    described = table(header, (_stream_row(stream) for stream in STREAMS))
    return f"## Streams\n\n{STREAM_RULES}\n\n{described}"


def _stream_row(stream: Stream) -> tuple[str, ...]:
    return (
        code(stream.name),
        codes(stream.subjects),
        stream.owner,
        ", ".join(pullers(stream)),
        ", ".join(lookers(stream)),
        _age(stream.max_age),
        stream.purpose,
    )


def _consumers() -> str:
    rows = [_consumer_row(TURN_WORKER), _consumer_row(delivery(_CHANNEL))]
    described = table(("consumer", "stream", "pulled by", "filter"), rows)
    return f"## Consumers\n\n{CONSUMER_RULES}\n\n{described}"


def _consumer_row(consumer: Consumer) -> tuple[str, ...]:
    durable = consumer.durable.replace(_CHANNEL, "{channel}")
    subject = consumer.filter_subject.replace(_CHANNEL, "{channel}")
    return code(durable), code(consumer.stream), consumer.owner, code(subject)


def _buckets() -> str:
    header = ("bucket", "owner", "storage", "entries live", "purpose")
    described = table(header, (_bucket_row(bucket) for bucket in BUCKETS))
    return f"## Key-value buckets\n\nWritten by their owner alone.\n\n{described}"


def _bucket_row(bucket: Bucket) -> tuple[str, ...]:
    is_lease = bucket in (leases(INBOUND), leases(OUTBOUND))
    lives = "`bus.lease_ttl_s`" if is_lease else _age(bucket.ttl)
    if bucket is CONNECTIONS:
        lives += ", or `bus.lease_ttl_s` if shorter"
    return code(bucket.name), bucket.owner, bucket.storage.value, lives, bucket.purpose


def _summary() -> str:
    rows = (_counts(user, allowed) for user, allowed in TABLE.items())
    header = ("user", "publishes to", "subscribes to", "may answer")
    return f"## Permissions\n\n{PERMISSIONS}\n\n{table(header, rows)}"


def _counts(user: str, allowed: Permission) -> tuple[str, ...]:
    answers = "yes" if allowed.responds else "no"
    return code(user), str(len(allowed.publish)), str(len(allowed.subscribe)), answers


def _permissions() -> list[str]:
    return [
        f"### {code(user)}\n\n"
        f"Publishes:\n\n{_list(allowed.publish)}\n\nSubscribes:\n\n{_list(allowed.subscribe)}"
        for user, allowed in TABLE.items()
    ]


def _list(subjects: tuple[str, ...]) -> str:
    return "\n".join(f"- {code(subject)}" for subject in sorted(set(subjects)))


def _age(age: timedelta | None) -> str:
    if age is None:
        return "for ever"
    if age < timedelta(hours=1):
        return f"{age // timedelta(seconds=1)} s"
    if age > timedelta(days=1):
        return f"{age.days} days"
    return f"{age // timedelta(hours=1)} h"
