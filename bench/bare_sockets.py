"""The sockets' baseline, as a process: the `websockets` server, which waits for what never comes.

Usage: `python -m bench.bare_sockets PORT`; ends with its standard input.
"""

from __future__ import annotations

import asyncio
import os
import sys

import uvloop
from websockets.asyncio.server import ServerConnection, serve


async def _wait(connection: ServerConnection) -> None:
    async for _ in connection:
        pass


async def run(port: int) -> None:
    """Serve on the loopback address until standard input ends."""
    ended = asyncio.Event()

    def heard() -> None:
        if not os.read(0, 1):
            ended.set()

    asyncio.get_running_loop().add_reader(0, heard)
    async with serve(_wait, "127.0.0.1", port, compression=None):
        sys.stderr.write('"ready"\n')
        await ended.wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(int(sys.argv[1])))
