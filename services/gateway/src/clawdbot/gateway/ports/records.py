"""Records that change by compare-and-set, with a store in memory to test against."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from clawdbot.schema.deadline import Deadline
from clawdbot.schema.wire import Wire

M = TypeVar("M", bound=Wire)
M_co = TypeVar("M_co", bound=Wire, covariant=True)


class Kept(Protocol[M_co]):
    """A value as it is kept."""

    @property
    def value(self) -> M_co:
        """What is kept."""
        ...

    @property
    def revision(self) -> int:
        """What a replacement or removal names."""
        ...


class Changed(Protocol[M_co]):
    """What a key came to."""

    @property
    def key(self) -> str:
        """Which one."""
        ...

    @property
    def value(self) -> M_co | None:
        """None when it was removed."""
        ...


class RecordStore(Protocol[M]):
    """Records of one kind that change by compare-and-set, the same for all replicas.

    Every call raises Unavailable when the store does not answer; a write that raises may have been
    done all the same.
    """

    async def get(self, key: str, *, deadline: Deadline) -> Kept[M] | None:
        """Return what `key` holds, or None."""
        ...

    async def create(self, key: str, value: M, *, deadline: Deadline) -> int | None:
        """Return the revision of the new record, or None when `key` holds one already."""
        ...

    async def replace(self, key: str, value: M, revision: int, *, deadline: Deadline) -> int | None:
        """Return the new revision, or None when `key` is not at `revision` any more."""
        ...

    async def remove(self, key: str, revision: int | None = None, *, deadline: Deadline) -> bool:
        """Remove what `key` holds; False when it is not at `revision`, where one is named."""
        ...

    def changes(self, after: int = 0, *, deadline: Deadline) -> AsyncGenerator[Changed[M], None]:
        """Yield the latest change of each key that changed after the revision `after`, in order."""
        ...


@dataclass(frozen=True)
class KeptRecord(Generic[M]):
    """A `Kept` and `Changed` of `InMemoryRecords`."""

    key: str
    value: M
    revision: int


class InMemoryRecords(Generic[M]):
    """A `RecordStore` of one process.

    Attributes:
        kept: the records by key, those that changed longest ago first.
        before_write: awaited before each write, so that a test can get in between.
    """

    def __init__(self) -> None:
        self.kept: dict[str, KeptRecord[M]] = {}
        self.before_write: Callable[[], Awaitable[None]] | None = None
        self._revision = 0

    async def get(self, key: str, *, deadline: Deadline) -> KeptRecord[M] | None:
        """Look it up."""
        deadline.require()
        return self.kept.get(key)

    async def create(self, key: str, value: M, *, deadline: Deadline) -> int | None:
        """Store it unless the key is taken."""
        return await self._write(key, value, None, deadline)

    async def replace(self, key: str, value: M, revision: int, *, deadline: Deadline) -> int | None:
        """Store it if nobody was faster."""
        return await self._write(key, value, revision, deadline)

    async def remove(self, key: str, revision: int | None = None, *, deadline: Deadline) -> bool:
        """Forget it."""
        deadline.require()
        found = self.kept.get(key)
        if revision is not None and (found is None or found.revision != revision):
            return False
        self.kept.pop(key, None)
        return True

    async def changes(
        self, after: int = 0, *, deadline: Deadline
    ) -> AsyncGenerator[KeptRecord[M], None]:
        """Yield what is kept; removals are forgotten."""
        deadline.require()
        for record in list(self.kept.values()):
            if record.revision > after:
                yield record

    async def _write(
        self, key: str, value: M, revision: int | None, deadline: Deadline
    ) -> int | None:
        deadline.require()
        if self.before_write is not None:
            await self.before_write()
        found = self.kept.get(key)
        if (None if found is None else found.revision) != revision:
            return None
        self._revision += 1
        self.kept.pop(key, None)
        self.kept[key] = KeptRecord(key, value, self._revision)
        return self._revision
