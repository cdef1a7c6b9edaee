"""Tokens on their way from the model's thread to the event loop."""

from __future__ import annotations

import asyncio

from clawdbot.schema.errors import ClawdbotError


class TokenStream:
    """One answer's tokens; written by the model's thread, read by one task.

    Iterating yields the tokens and raises the `ClawdbotError` that ended the answer, if one did.

    Args:
        limit: most tokens that will come, which bounds the queue.
    """

    def __init__(self, limit: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[int | ClawdbotError | None] = asyncio.Queue(limit + 1)

    def put(self, token: int) -> None:
        """Hand over a token; called by the model's thread."""
        self._loop.call_soon_threadsafe(self._queue.put_nowait, token)

    def end(self, error: ClawdbotError | None = None) -> None:
        """Say that nothing follows; called by the model's thread, once."""
        self._loop.call_soon_threadsafe(self._queue.put_nowait, error)

    def __aiter__(self) -> TokenStream:
        """Return the tokens, to be read once."""
        return self

    async def __anext__(self) -> int:
        """Return the next token."""
        item = await self._queue.get()
        if item is None:
            raise StopAsyncIteration
        if isinstance(item, ClawdbotError):
            raise item
        return item
