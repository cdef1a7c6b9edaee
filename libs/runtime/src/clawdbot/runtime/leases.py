"""Who works on which conversation, and how far each one is done.

A lease says who should work; it can expire under a worker that was paused. What nobody can do
twice is move `progress`, since that is a compare-and-set: it is the fence.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace

import nats.errors
from nats.js import errors as js_errors
from nats.js.kv import KeyValue

from clawdbot.runtime.bus import Bus
from clawdbot.schema.codec import decode, encode
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.streams import Bucket
from clawdbot.schema.wire import Wire

log = logging.getLogger(__name__)


class LeaseLost(Exception):
    """Another worker holds the conversation now; nothing more may be committed."""


class _Mark(Wire):
    """How far a conversation is done, as stored."""

    SCHEMA = "progress/1"

    sequence: int = 0
    """Stream sequence of the last message that is done."""
    attempting: int = 0
    """Stream sequence of the message whose attempts are counted."""
    attempts: int = 0


@dataclass(frozen=True)
class Mark:
    """How far a conversation is done, with the revision that a change must name."""

    sequence: int
    attempting: int
    attempts: int
    revision: int

    def attempts_at(self, sequence: int) -> int:
        """Return how often the message at `sequence` was tried already, as far as recorded."""
        return self.attempts if self.attempting == sequence else 0


async def open_bucket(bus: Bus, bucket: Bucket) -> KeyValue:
    """Return the provisioned `bucket`.

    Raises:
        Unavailable: it does not exist, or the broker does not answer.
    """
    try:
        return await bus.jetstream.key_value(bucket.name)
    except (js_errors.Error, nats.errors.Error, TimeoutError, OSError) as exc:
        raise Unavailable(f"the bucket {bucket.name} cannot be opened") from exc


class Leases:
    """Leases on conversations, in a bucket whose entries vanish unless renewed."""

    def __init__(self, bucket: KeyValue, owner: str, ttl_s: float) -> None:
        self._bucket = bucket
        self._owner = owner.encode()
        self.ttl_s = ttl_s

    async def acquire(self, key: str) -> Lease | None:
        """Return the lease on `key`, or None while somebody else holds it.

        Raises:
            Unavailable: the broker does not answer.
        """
        try:
            revision = await self._bucket.create(key, self._owner)
        except js_errors.KeyWrongLastSequenceError:
            return None
        except _BROKER_ERRORS as exc:
            raise Unavailable("the lease cannot be taken") from exc
        return Lease(self._bucket, key, self._owner, revision, self.ttl_s)


class Lease:
    """One held lease."""

    def __init__(
        self, bucket: KeyValue, key: str, owner: bytes, revision: int, ttl_s: float
    ) -> None:
        self._bucket = bucket
        self._key = key
        self._owner = owner
        self._revision = revision
        self._ttl_s = ttl_s
        # A renewal that is cut off would leave a revision that nobody knows, hence no release.
        self._changing = asyncio.Lock()
        self._is_released = False

    async def keep(self) -> None:
        """Renew until cancelled.

        Raises:
            LeaseLost: somebody else took it, or it could not be renewed within its TTL.
        """
        loop = asyncio.get_running_loop()
        renewed_at = loop.time()
        while not self._is_released:
            await asyncio.sleep(self._ttl_s / 3)
            try:
                await self._renew()
                renewed_at = loop.time()
            except js_errors.KeyWrongLastSequenceError as exc:
                raise LeaseLost(self._key) from exc
            except _BROKER_ERRORS as exc:
                if loop.time() - renewed_at > self._ttl_s:
                    raise LeaseLost(self._key) from exc

    async def _renew(self) -> None:
        async with self._changing, asyncio.timeout(self._ttl_s / 3):
            if not self._is_released:
                self._revision = await self._bucket.update(
                    self._key, self._owner, last=self._revision
                )

    async def release(self) -> None:
        """Give it back; when that fails it expires by itself."""
        async with self._changing:
            self._is_released = True
            try:
                async with asyncio.timeout(self._ttl_s / 3):
                    await self._bucket.delete(self._key, last=self._revision)
            except _BROKER_ERRORS:
                log.debug("lease left to expire")


class Progress:
    """How far each conversation is done."""

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket

    async def get(self, key: str) -> Mark:
        """Return the mark of `key`; a fresh one when there is none.

        Raises:
            Unavailable: the broker does not answer.
        """
        try:
            entry = await self._bucket.get(key)
        except js_errors.KeyNotFoundError:
            return Mark(0, 0, 0, 0)
        except _BROKER_ERRORS as exc:
            raise Unavailable("progress cannot be read") from exc
        stored = decode(_Mark, entry.value or b"")
        return Mark(stored.sequence, stored.attempting, stored.attempts, entry.revision or 0)

    async def done(self, key: str, mark: Mark, sequence: int) -> Mark:
        """Record that everything up to `sequence` is done.

        Raises:
            LeaseLost: somebody else moved it since `mark` was read.
            Unavailable: the broker does not answer.
        """
        return await self._set(key, replace(mark, sequence=sequence, attempting=0, attempts=0))

    async def attempted(self, key: str, mark: Mark, sequence: int, attempts: int) -> Mark:
        """Record that the message at `sequence` is being tried for the `attempts`-th time.

        Raises:
            LeaseLost: somebody else moved it since `mark` was read.
            Unavailable: the broker does not answer.
        """
        return await self._set(key, replace(mark, attempting=sequence, attempts=attempts))

    async def _set(self, key: str, mark: Mark) -> Mark:
        value = _Mark(sequence=mark.sequence, attempting=mark.attempting, attempts=mark.attempts)
        try:
            revision = await self._bucket.update(key, encode(value), last=mark.revision)
        except js_errors.KeyWrongLastSequenceError as exc:
            raise LeaseLost(key) from exc
        except _BROKER_ERRORS as exc:
            raise Unavailable("progress cannot be recorded") from exc
        return replace(mark, revision=revision)


_BROKER_ERRORS = (js_errors.Error, nats.errors.Error, TimeoutError, OSError)
