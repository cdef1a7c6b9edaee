"""Who works on which conversation, and how far each one is done.

A lease says who should work; it can expire under a worker that was paused. What nobody can do
twice is move `progress`, since that is a compare-and-set: it is the fence.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

import nats.errors
from nats.js import errors as js_errors
from nats.js.kv import KeyValue

from clawdbot.runtime.bus import Bus
from clawdbot.schema.codec import decode, encode
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.streams import Bucket
from clawdbot.schema.wire import Wire

log = logging.getLogger(__name__)


CLOCK_GRAIN_NS = 1_000_000
"""Times of the same message may differ by what their formats leave out."""


class LeaseLost(Exception):
    """Another worker holds the conversation now; nothing more may be committed."""


class _Mark(Wire):
    """How far a conversation is done, as stored."""

    SCHEMA = "progress/1"

    sequence: int = 0
    """Stream sequence of the last message that is done."""
    done_at_ns: int = 0
    """When that message was stored, by the broker's clock."""
    attempting: int = 0
    """Stream sequence of the message whose attempts are counted."""
    attempts: int = 0
    not_before_ms: int = 0
    """The next attempt is not due before this, Unix milliseconds."""


@dataclass(frozen=True)
class Mark:
    """How far a conversation is done, with the revision that a change must name."""

    stored: _Mark
    revision: int

    @property
    def sequence(self) -> int:
        """Stream sequence of the last message that is done."""
        return self.stored.sequence

    def is_older_than(self, stored_at_ns: int) -> bool:
        """Return whether the last message that is done was stored clearly before `stored_at_ns`."""
        return 0 < self.stored.done_at_ns < stored_at_ns - CLOCK_GRAIN_NS

    def attempts_at(self, sequence: int) -> int:
        """Return how often the message at `sequence` was tried already, as far as recorded."""
        return self.stored.attempts if self.stored.attempting == sequence else 0

    def wait_s(self, sequence: int) -> float:
        """Return the seconds until the message at `sequence` may be tried again."""
        if self.stored.attempting != sequence:
            return 0.0
        return self.stored.not_before_ms / 1000 - time.time()


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
    """Leases on conversations, or whatever, in a bucket whose entries vanish unless renewed."""

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
            return Mark(_Mark(), 0)
        except _BROKER_ERRORS as exc:
            raise Unavailable("progress cannot be read") from exc
        return Mark(decode(_Mark, entry.value or b""), entry.revision or 0)

    async def done(self, key: str, mark: Mark, sequence: int, stored_at_ns: int) -> Mark:
        """Record that everything up to `sequence`, stored at `stored_at_ns`, is done.

        Raises:
            LeaseLost: somebody else moved it since `mark` was read.
            Unavailable: the broker does not answer.
        """
        return await self._set(key, mark, _Mark(sequence=sequence, done_at_ns=stored_at_ns))

    async def attempted(
        self, key: str, mark: Mark, sequence: int, attempts: int, wait_s: float = 0.0
    ) -> Mark:
        """Record `attempts` at the message at `sequence`, and that the next is due in `wait_s`.

        Raises:
            LeaseLost: somebody else moved it since `mark` was read.
            Unavailable: the broker does not answer.
        """
        changes = {
            "attempting": sequence,
            "attempts": attempts,
            "not_before_ms": int((time.time() + wait_s) * 1000) if wait_s else 0,
        }
        return await self._set(key, mark, mark.stored.model_copy(update=changes))

    async def rewound(self, key: str, mark: Mark, sequence: int) -> Mark:
        """Record that nothing after `sequence` is done.

        Raises:
            LeaseLost: somebody else moved it since `mark` was read.
            Unavailable: the broker does not answer.
        """
        return await self._set(key, mark, _Mark(sequence=sequence))

    async def _set(self, key: str, mark: Mark, value: _Mark) -> Mark:
        try:
            revision = await self._bucket.update(key, encode(value), last=mark.revision)
        except js_errors.KeyWrongLastSequenceError as exc:
            raise LeaseLost(key) from exc
        except _BROKER_ERRORS as exc:
            raise Unavailable("progress cannot be recorded") from exc
        return Mark(value, revision)


_BROKER_ERRORS = (js_errors.Error, nats.errors.Error, TimeoutError, OSError)
