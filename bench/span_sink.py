"""Takes spans by OTLP/HTTP and forgets them, as a process: `python -m bench.span_sink PORT`."""

from __future__ import annotations

import asyncio
import os
import re
import sys

import uvloop

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"


async def _forget(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            length = _LENGTH.search(await reader.readuntil(b"\r\n\r\n"))
            await reader.readexactly(int(length[1]) if length else 0)
            writer.write(_ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def serve(port: int) -> None:
    """Serve on the loopback address until standard input ends."""
    ended = asyncio.Event()

    def heard() -> None:
        if not os.read(0, 1):
            ended.set()

    asyncio.get_running_loop().add_reader(0, heard)
    async with await asyncio.start_server(_forget, "127.0.0.1", port):
        sys.stderr.write('"ready"\n')
        await ended.wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1])))
