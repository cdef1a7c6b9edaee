"""Ids of forgotten memories: a request to keep one, delivered again, must not bring it back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from clawdbot.memory.adapters.tables import forgotten
from clawdbot.memory.domain.owner import Owner

KEPT_FOR: Final = timedelta(days=4)
"""Longer than any message waits to be delivered again."""


async def note(connection: AsyncConnection, owner: Owner, ids: Sequence[str]) -> None:
    """Note that `ids`, not noted yet, are forgotten; in the transaction that removes them."""
    place = {"tenant": owner.tenant, "user_id": owner.user, "at": _now_ms()}
    await connection.execute(insert(forgotten), [{**place, "id": each} for each in ids])


async def among(connection: AsyncConnection, owner: Owner, ids: set[str]) -> set[str]:
    """Return those of `ids` that were forgotten lately."""
    query = select(forgotten.c.id).where(
        forgotten.c.tenant == owner.tenant,
        forgotten.c.user_id == owner.user,
        forgotten.c.id.in_(ids),
    )
    return set((await connection.execute(query)).scalars())


def sweep(connection: Connection) -> None:
    """Drop what is noted for longer than `KEPT_FOR`."""
    oldest = _now_ms() - int(KEPT_FOR.total_seconds() * 1000)
    connection.execute(delete(forgotten).where(forgotten.c.at < oldest))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
