"""Creates what the broker must have: streams, consumers, buckets. Nothing else may.

Run before the services start, and again at each upgrade: it changes what differs and refuses
what would destroy data.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta

import nats.errors
from nats.js import errors as js_errors
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)

from clawdbot.runtime.bus import Bus
from clawdbot.runtime.config import Config
from clawdbot.runtime.connection import connected
from clawdbot.runtime.secrets import Secrets
from clawdbot.schema import subjects
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.ids import Channel
from clawdbot.schema.permissions import PROVISIONER
from clawdbot.schema.streams import (
    AUDIT,
    BUCKETS,
    CONNECTIONS,
    INBOUND,
    OBJECT_STREAM,
    OUTBOUND,
    STREAMS,
    TURN_WORKER,
    Bucket,
    Consumer,
    Storage,
    Stream,
    delivery,
    leases,
)

log = logging.getLogger(__name__)

MAX_ACK_PENDING = 10_000
"""Doorbells that may ring at a time; the workers' own bound is how many conversations they take."""


async def provision(config: Config, secrets: Secrets) -> None:
    """Make the broker hold what `clawdbot.schema.streams` lists.

    Raises:
        Unavailable: the broker cannot be reached or refuses.
    """
    async with connected(PROVISIONER, config, secrets) as client:
        bus = Bus(client, PROVISIONER)
        try:
            await _provision(bus, config)
        except (js_errors.Error, nats.errors.Error, TimeoutError) as exc:
            raise Unavailable(f"the broker cannot be provisioned: {exc}") from exc


async def _provision(bus: Bus, config: Config) -> None:
    for stream in STREAMS:
        await _ensure_stream(bus, _stream_config(stream, config.bus.replicas))
    for bucket in BUCKETS:
        await _ensure_stream(bus, _bucket_config(bucket, config))
    await _ensure_stream(bus, _object_store_config(config))
    await _ensure_consumer(bus, TURN_WORKER, config, start=1)
    replies = await bus.jetstream.stream_info(OUTBOUND.name)
    for channel in delivering_channels(config):
        # A channel that starts to deliver today does not repeat what was answered before.
        await _ensure_consumer(bus, delivery(channel), config, start=replies.state.last_seq + 1)
    log.info("broker provisioned", extra={"streams": len(STREAMS), "buckets": len(BUCKETS)})


def delivering_channels(config: Config) -> tuple[Channel, ...]:
    """Return the channel accounts whose replies the gateway sends out by itself."""
    chat = tuple(channel for _, _, channel in config.platforms.channels())
    return (Channel("webhook"), *chat) if config.platforms.webhook.callback_url else chat


async def _ensure_stream(bus: Bus, wanted: StreamConfig) -> None:
    try:
        found = await bus.jetstream.stream_info(wanted.name or "")
    except js_errors.NotFoundError:
        await bus.jetstream.add_stream(wanted)
        return
    if found.config.storage != wanted.storage or found.config.retention != wanted.retention:
        raise Unavailable(
            f"the stream {wanted.name} exists with another storage or retention; "
            "changing it would lose its messages"
        )
    await bus.jetstream.update_stream(wanted)


async def _ensure_consumer(bus: Bus, consumer: Consumer, config: Config, start: int) -> None:
    wanted = ConsumerConfig(
        durable_name=consumer.durable,
        filter_subject=consumer.filter_subject,
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=start,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=config.bus.ack_wait_s,
        # Attempts are counted in the conversation's record; a doorbell may ring without end.
        max_deliver=-1,
        max_ack_pending=MAX_ACK_PENDING,
    )
    try:
        found = await bus.jetstream.consumer_info(consumer.stream, consumer.durable)
    except js_errors.NotFoundError:
        await bus.jetstream.add_consumer(consumer.stream, wanted)
        return
    # Where an existing consumer started cannot change, and need not.
    kept = {
        "deliver_policy": found.config.deliver_policy,
        "opt_start_seq": found.config.opt_start_seq,
    }
    await bus.jetstream.add_consumer(consumer.stream, replace(wanted, **kept))


def _stream_config(stream: Stream, replicas: int) -> StreamConfig:
    is_audit = stream is AUDIT
    return StreamConfig(
        name=stream.name,
        description=stream.purpose,
        subjects=list(stream.subjects),
        retention=RetentionPolicy.LIMITS,
        discard=DiscardPolicy.OLD,
        max_age=stream.max_age.total_seconds(),
        storage=StorageType.FILE,
        num_replicas=replicas,
        allow_direct=True,
        deny_delete=is_audit,
        deny_purge=is_audit,
    )


def _bucket_config(bucket: Bucket, config: Config) -> StreamConfig:
    is_lease = bucket.name in {leases(stream).name for stream in (INBOUND, OUTBOUND)}
    ttl_s = config.bus.lease_ttl_s if is_lease else _seconds(bucket.ttl)
    if bucket is CONNECTIONS:
        ttl_s = config.bus.connection_ttl_s
    return StreamConfig(
        name=bucket.stream,
        description=bucket.purpose,
        subjects=[f"$KV.{bucket.name}.>"],
        max_msgs_per_subject=1,
        retention=RetentionPolicy.LIMITS,
        discard=DiscardPolicy.NEW,
        max_age=ttl_s,
        storage=StorageType.MEMORY if bucket.storage is Storage.MEMORY else StorageType.FILE,
        num_replicas=config.bus.replicas,
        allow_direct=True,
        allow_rollup_hdrs=True,
        allow_msg_ttl=bucket.entries_expire or None,
        deny_delete=True,
    )


def _object_store_config(config: Config) -> StreamConfig:
    return StreamConfig(
        name=OBJECT_STREAM,
        description="what is larger than a message may be, by its hash",
        subjects=[f"{subjects.BLOB_CONTENT}.>", f"{subjects.BLOB_INFO}.>"],
        retention=RetentionPolicy.LIMITS,
        # Full means that nothing more is taken; what somebody was promised stays.
        discard=DiscardPolicy.NEW,
        max_bytes=config.bus.blobs_max_mb * 1024 * 1024,
        storage=StorageType.FILE,
        num_replicas=config.bus.replicas,
        allow_direct=True,
        allow_rollup_hdrs=True,
        # Each content says itself how long it stays.
        allow_msg_ttl=True,
    )


def _seconds(ttl: timedelta | None) -> float:
    """Return `ttl` as the broker wants it: 0 is for ever."""
    return 0.0 if ttl is None else ttl.total_seconds()
