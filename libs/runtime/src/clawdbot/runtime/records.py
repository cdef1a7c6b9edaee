"""Typed records in a key-value bucket of the broker: one owner writes, compare-and-set decides.

A key is one token of ours (`clawdbot.schema.ids`) or several joined by dots. Reading needs no
consumer: changes are read by sequence, so that a service's permissions stay as narrow as its
buckets.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

import nats.errors
from nats.js import errors as js_errors
from nats.js.api import RawStreamMsg
from nats.js.kv import KV_DEL, KV_OP, KV_PURGE, KeyValue

from clawdbot.runtime.bus import WRONG_LAST_SEQUENCE, Bus
from clawdbot.runtime.leases import open_bucket
from clawdbot.schema.codec import decode, encode
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.ids import token
from clawdbot.schema.streams import Bucket
from clawdbot.schema.wire import Wire

M = TypeVar("M", bound=Wire)


@dataclass(frozen=True)
class Record(Generic[M]):
    """A value as the bucket holds it."""

    value: M
    revision: int
    """What a replacement or removal names."""


@dataclass(frozen=True)
class Change(Generic[M]):
    """What a key came to."""

    key: str
    value: M | None
    """None when it was removed."""
    revision: int


class Records(Generic[M]):
    """The records of one kind in one bucket; open with `Records.open`.

    Every call raises Unavailable when the broker does not answer, and DeadlineExceeded when there
    was no time left to ask; a write that raises may have been done all the same.
    """

    def __init__(self, bus: Bus, bucket: Bucket, values: KeyValue, kind: type[M]) -> None:
        self._bus = bus
        self._bucket = bucket
        self._values = values
        self._kind = kind

    @classmethod
    async def open(cls, bus: Bus, bucket: Bucket, kind: type[M]) -> Records[M]:
        """Return the records of the provisioned `bucket`.

        Raises:
            Unavailable: it does not exist, or the broker does not answer.
        """
        return cls(bus, bucket, await open_bucket(bus, bucket), kind)

    async def get(self, key: str, *, deadline: Deadline) -> Record[M] | None:
        """Return what `key` holds, or None."""
        async with self._asking(deadline):
            try:
                entry = await self._values.get(_checked(key))
            except js_errors.KeyNotFoundError:
                return None
        return Record(decode(self._kind, entry.value or b""), entry.revision or 0)

    async def create(self, key: str, value: M, *, deadline: Deadline) -> int | None:
        """Return the revision of the new record, or None when `key` holds one already."""
        async with self._asking(deadline):
            try:
                return await self._values.create(_checked(key), encode(value))
            except js_errors.KeyWrongLastSequenceError:
                return None

    async def put(
        self, key: str, value: M, *, ttl: timedelta | None = None, deadline: Deadline
    ) -> int:
        """Write `value` whatever `key` held; return its revision.

        In a bucket whose `entries_expire` the broker forgets it after `ttl`, a second at least.
        """
        subject = f"{self._prefix}{_checked(key)}"
        # The broker counts whole seconds, and would refuse none.
        ttl_s = None if ttl is None else max(1, math.ceil(ttl.total_seconds()))
        async with self._asking(deadline):
            kept = await self._bus.jetstream.publish(subject, encode(value), msg_ttl=ttl_s)
            return kept.seq

    async def replace(self, key: str, value: M, revision: int, *, deadline: Deadline) -> int | None:
        """Write `value` if `key` is still at `revision`; return the new one, or None if it is not.

        Revision 0 is a key that was never written.
        """
        async with self._asking(deadline):
            try:
                return await self._values.update(_checked(key), encode(value), last=revision)
            except js_errors.KeyWrongLastSequenceError:
                return None

    async def remove(self, key: str, revision: int | None = None, *, deadline: Deadline) -> bool:
        """Remove what `key` holds; False when it is not at `revision`, where one is named."""
        async with self._asking(deadline):
            try:
                return await self._values.delete(_checked(key), last=revision)
            except js_errors.APIError as exc:
                if exc.err_code not in WRONG_LAST_SEQUENCE:
                    raise
                return False

    async def changes(
        self, after: int = 0, *, deadline: Deadline
    ) -> AsyncGenerator[Change[M], None]:
        """Yield the latest change of each key that changed after the revision `after`, in order.

        With `after=0` that is every key. Whoever keeps the highest revision follows the bucket at
        the cost of one request each time that nothing changed. What the bucket's age limit ends
        is not a change.
        """
        while (raw := await self._next(after + 1, deadline)) is not None:
            after = raw.seq or 0
            is_removed = (raw.headers or {}).get(KV_OP) in {KV_DEL, KV_PURGE}
            value = None if is_removed else decode(self._kind, raw.data or b"")
            yield Change((raw.subject or "").removeprefix(self._prefix), value, after)

    async def _next(self, sequence: int, deadline: Deadline) -> RawStreamMsg | None:
        async with self._asking(deadline):
            try:
                return await self._bus.jetstream.get_msg(
                    self._bucket.stream,
                    seq=sequence,
                    subject=f"{self._prefix}>",
                    next=True,
                    direct=True,
                )
            except js_errors.NotFoundError:
                return None

    @property
    def _prefix(self) -> str:
        return f"$KV.{self._bucket.name}."

    @asynccontextmanager
    async def _asking(self, deadline: Deadline) -> AsyncIterator[None]:
        if not self._bus.is_connected:
            raise Unavailable("the broker is not reachable")
        name = self._bucket.name
        try:
            async with deadline.guard(f"the bucket {name} did not answer in time"):
                yield
        except (js_errors.Error, nats.errors.Error, TimeoutError, OSError) as exc:
            raise Unavailable(f"the bucket {name} cannot be reached") from exc


def _checked(key: str) -> str:
    return ".".join(token(part, "key") for part in key.split("."))
