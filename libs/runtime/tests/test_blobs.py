"""The object store on a real broker: by hash, once, checked, for a while, by whoever may."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, cast

import nats.errors
import pytest
from nats.js import JetStreamContext
from nats.js.api import PubAck

from clawdbot.runtime.blob_upload import CHUNK_BYTES
from clawdbot.runtime.blobs import Blobs
from clawdbot.runtime.bus import Bus
from clawdbot.runtime.provision import provision
from clawdbot.runtime.testing import LocalBus
from clawdbot.schema import subjects
from clawdbot.schema.blobs import BlobRef
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import NotFound, Overloaded, Retryable, TooLarge, Unavailable
from clawdbot.schema.streams import OBJECT_STORE, OBJECT_STREAM

MIB = 1024 * 1024


def soon() -> Deadline:
    return Deadline.after(20)


async def pieces(data: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def blobs(bus: Bus, max_bytes: int = 32 * MIB) -> Blobs:
    return Blobs(bus, max_bytes=max_bytes)


async def held(stack: LocalBus) -> int:
    async with stack.bus("provisioner") as bus:
        info = await bus.jetstream.stream_info(OBJECT_STREAM)
    return int(info.state.messages)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 20 * MIB])
async def test_what_one_replica_puts_another_gets(stack: LocalBus, size: int) -> None:
    data = hashlib.shake_128(b"seed").digest(size)
    async with stack.bus("gateway") as bus:
        ref = await blobs(bus).put(pieces(data), "text/plain", deadline=soon())

    async with stack.bus("gateway") as bus:
        got = await blobs(bus).read(ref, deadline=soon())

    assert got == data
    assert ref.sha256 == hashlib.sha256(data).hexdigest()
    assert (ref.size_bytes, ref.media_type) == (size, "text/plain")


async def test_any_client_of_the_object_store_reads_it(stack: LocalBus) -> None:
    data = b"x" * (CHUNK_BYTES + 5)
    async with stack.bus("gateway") as bus:
        ref = await blobs(bus).put(pieces(data), deadline=soon())

    async with stack.bus("provisioner") as bus:
        info = await (await bus.jetstream.object_store(OBJECT_STORE)).get_info(ref.sha256)

    assert (info.size, info.chunks) == (len(data), 2)


async def test_the_same_content_is_stored_once(stack: LocalBus) -> None:
    async with stack.bus("gateway") as bus:
        first = await blobs(bus).put(pieces(b"the same"), deadline=soon())
        before = await held(stack)
        second = await blobs(bus).put(pieces(b"the same"), deadline=soon())
        await _until_withdrawn(stack, before)

        assert second == first
        assert await blobs(bus).read(second, deadline=soon()) == b"the same"


async def _until_withdrawn(stack: LocalBus, wanted: int) -> None:
    # The mark that drops an upload vanishes after a second itself.
    deadline = Deadline.after(10)
    while await held(stack) != wanted:
        deadline.require()


async def test_content_that_is_wanted_longer_is_stored_anew(stack: LocalBus) -> None:
    async with stack.bus("gateway") as bus:
        short = await blobs(bus).put(pieces(b"x"), deadline=soon(), ttl=timedelta(minutes=1))
        long = await blobs(bus).put(pieces(b"x"), deadline=soon(), ttl=timedelta(days=1))

        assert long.expires_at_ms > short.expires_at_ms
        assert await blobs(bus).read(short, deadline=soon()) == b"x"


async def test_what_is_too_long_leaves_nothing(stack: LocalBus) -> None:
    async with stack.bus("gateway") as bus:
        with pytest.raises(TooLarge):
            await blobs(bus, CHUNK_BYTES).put(pieces(b"x" * (3 * CHUNK_BYTES)), deadline=soon())

    await _until_withdrawn(stack, 0)


async def test_a_source_that_fails_leaves_nothing(stack: LocalBus) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"x" * (2 * CHUNK_BYTES)
        raise Unavailable("the platform is gone")

    async with stack.bus("gateway") as bus:
        with pytest.raises(Unavailable, match="platform"):
            await blobs(bus).put(failing(), deadline=soon())

    await _until_withdrawn(stack, 0)


class Unconfirmed:
    """A JetStream of which a record is stored and its confirmation lost."""

    def __init__(self, jetstream: JetStreamContext) -> None:
        self._jetstream = jetstream
        self.get_msg = jetstream.get_msg

    async def publish(self, subject: str, payload: bytes, **how: Any) -> PubAck:
        stored = await self._jetstream.publish(subject, payload, **how)
        if subject.startswith(subjects.BLOB_INFO):
            raise nats.errors.TimeoutError
        return stored


async def test_a_record_that_was_not_confirmed_still_has_its_content(stack: LocalBus) -> None:
    data = b"x" * (CHUNK_BYTES + 1)
    async with stack.bus("gateway") as bus:
        confirming, bus.jetstream = (
            bus.jetstream,
            cast("JetStreamContext", Unconfirmed(bus.jetstream)),
        )
        with pytest.raises(Unavailable):
            await blobs(bus).put(pieces(data), deadline=soon())
        bus.jetstream = confirming

        again = await blobs(bus).put(pieces(data), deadline=soon())

        assert await blobs(bus).read(again, deadline=soon()) == data


async def test_what_is_not_what_its_name_says_is_never_whole(stack: LocalBus) -> None:
    data = b"a" * CHUNK_BYTES + b"b"
    async with stack.bus("gateway") as bus:
        ref = await blobs(bus).put(pieces(data), deadline=soon())
        wrong = ref.model_copy(update={"sha256": hashlib.sha256(b"other").hexdigest()})
        raw = await bus.jetstream.get_msg(
            OBJECT_STREAM, subject=subjects.blob_info(ref.sha256), direct=True
        )
        forged = (raw.data or b"").replace(ref.sha256.encode(), wrong.sha256.encode())
        await bus.jetstream.publish(subjects.blob_info(wrong.sha256), forged)
        received = bytearray()

        with pytest.raises(NotFound, match="damaged"):
            async for chunk in blobs(bus).get(wrong, deadline=soon()):
                received += chunk

    assert len(received) < ref.size_bytes


async def test_a_name_with_another_size_is_refused(stack: LocalBus) -> None:
    async with stack.bus("gateway") as bus:
        ref = await blobs(bus).put(pieces(b"abc"), deadline=soon())
        for size in (2, 4):
            with pytest.raises(NotFound):
                await blobs(bus).read(ref.model_copy(update={"size_bytes": size}), deadline=soon())


async def test_the_broker_sweeps_what_has_expired(stack: LocalBus) -> None:
    async with stack.bus("gateway") as bus:
        ref = await blobs(bus).put(pieces(b"x"), deadline=soon(), ttl=timedelta(seconds=1))
        deadline = Deadline.after(15)
        while await blobs(bus).find(ref.sha256, deadline=soon()) is not None:
            deadline.require()

        with pytest.raises(NotFound, match="expired"):
            await blobs(bus).read(ref, deadline=soon())


async def test_a_full_store_asks_to_wait(stack: LocalBus) -> None:
    small = stack.config.bus.model_copy(update={"blobs_max_mb": 1})
    await provision(stack.config.model_copy(update={"bus": small}), stack.secrets)

    async with stack.bus("gateway") as bus:
        with pytest.raises(Overloaded):
            await blobs(bus).put(pieces(b"x" * (2 * MIB)), deadline=soon())


async def test_without_the_broker_nothing_is_put_or_got(stack: LocalBus) -> None:
    ref = BlobRef(sha256="0" * 64, size_bytes=1, expires_at_ms=1)
    async with stack.bus("gateway") as bus:
        await stack.broker.kill()

        with pytest.raises(Unavailable):
            await blobs(bus).put(pieces(b"x"), deadline=Deadline.after(2))
        with pytest.raises(Unavailable):
            await blobs(bus).read(ref, deadline=Deadline.after(2))


@pytest.mark.parametrize("user", ["assistant", "inference", "memory", "executor"])
async def test_only_the_gateway_puts_and_gets(stack: LocalBus, user: str) -> None:
    ref = BlobRef(sha256="0" * 64, size_bytes=1, expires_at_ms=1)
    async with stack.bus(user) as bus:
        with pytest.raises(Retryable):
            await blobs(bus).read(ref, deadline=Deadline.after(0.5))
        with pytest.raises(Retryable):
            await blobs(bus).put(pieces(b"x"), deadline=Deadline.after(1))

    assert await held(stack) == 0


async def test_nobody_can_purge_or_make_consumers_of_the_store(stack: LocalBus) -> None:
    async with stack.bus("gateway") as bus:
        for verb in ("STREAM.PURGE", "STREAM.MSG.DELETE", "CONSUMER.CREATE"):
            with pytest.raises(nats.errors.TimeoutError):
                await bus.client.request(f"$JS.API.{verb}.{OBJECT_STREAM}", b"{}", timeout=0.2)
