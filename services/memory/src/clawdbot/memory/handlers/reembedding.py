"""Gives vectors to memories that were kept while inference was away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from clawdbot.memory.domain.records import Backlogged, Embedding
from clawdbot.memory.handlers.archive import Archive
from clawdbot.memory.ports import Backlog, Embedder
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, Overloaded, Unavailable

log = logging.getLogger(__name__)

BATCH: Final = 16
"""Texts per call: small, so that a question of a user waits for few of them."""
CALL_TIMEOUT_S: Final = 30.0
"""Nobody waits for it, and a loaded CPU needs a second for a long text."""
IDLE: Final = timedelta(seconds=5)
"""Pause after a pass that went well; looking costs one indexed read."""
LONGEST: Final = timedelta(minutes=1)
"""Longest pause while inference stays away."""


class Reembedding:
    """Works through the backlog, a small batch at a time, as long as the service runs."""

    def __init__(self, backlog: Backlog, archive: Archive, embedder: Embedder) -> None:
        self._backlog = backlog
        self._archive = archive
        self._embedder = embedder
        self.problem: str | None = None
        """Why memories wait for their vectors, when they do."""

    async def run(self) -> None:
        """Pass over the backlog for ever; after a failure the pauses grow."""
        pause = IDLE
        while True:
            try:
                await self.catch_up()
                pause = IDLE
            except ClawdbotError as exc:
                pause = min(2 * pause, LONGEST)
                self.problem = f"some memories wait for vectors: {exc.message}"
                log.warning("re-embedding stopped", extra={"code": exc.code})
            await asyncio.sleep(pause.total_seconds())

    async def catch_up(self) -> int:
        """Embed what waits, once over, and return how many vectors were stored.

        Raises:
            ClawdbotError: inference or the database does not answer; what is done stays done.
        """
        filled, last = 0, None
        while batch := await self._backlog.backlog(last, BATCH):
            filled += await self._fill(batch)
            last = batch[-1]
        self.problem = None
        return filled

    async def _fill(self, batch: Sequence[Backlogged]) -> int:
        try:
            found = await self._embedder.passages(
                [item.memory.content for item in batch], deadline=Deadline.after(CALL_TIMEOUT_S)
            )
        except ClawdbotError as exc:
            if len(batch) > 1:
                # One text that inference cannot embed must not keep the others waiting.
                return sum([await self._fill([item]) for item in batch])
            if isinstance(exc, Unavailable | Overloaded):
                raise
            log.warning("a memory stays without a vector", extra={"code": exc.code})
            return 0
        pairs = zip(batch, found.vectors, strict=True)
        stored = [
            await self._archive.fill(item, Embedding(vector, found.model)) for item, vector in pairs
        ]
        return sum(stored)
