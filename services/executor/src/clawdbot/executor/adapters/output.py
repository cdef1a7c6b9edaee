"""Reading what a job prints, up to a limit."""

from __future__ import annotations

import asyncio
import os

_CHUNK = 65536


class OutputCapture:
    """The read ends of a job's standard output and error.

    Attributes:
        stdout_fd: for the job; `release` closes our copy once the job has its own.
        stderr_fd: the same.
        overflow: done as soon as more than the limit was printed.
    """

    def __init__(self, limit_bytes: int) -> None:
        loop = asyncio.get_running_loop()
        self.overflow: asyncio.Future[None] = loop.create_future()
        self._left = limit_bytes
        self._text = (bytearray(), bytearray())
        self._drained = asyncio.Event()
        stdout_read, self.stdout_fd = os.pipe()
        stderr_read, self.stderr_fd = os.pipe()
        self._open = {stdout_read, stderr_read}
        for fd, text in zip((stdout_read, stderr_read), self._text, strict=True):
            os.set_blocking(fd, False)
            loop.add_reader(fd, self._read, fd, text)

    def release(self) -> None:
        """Close the job's ends here, so that ours end when the job's do."""
        os.close(self.stdout_fd)
        os.close(self.stderr_fd)

    async def drained(self) -> tuple[bytes, bytes]:
        """Wait until all writers are gone; return standard output and error."""
        await self._drained.wait()
        stdout, stderr = self._text
        return bytes(stdout), bytes(stderr)

    def close(self) -> None:
        """Stop reading; what was not read is lost."""
        for fd in tuple(self._open):
            self._end(fd)

    def _read(self, fd: int, text: bytearray) -> None:
        chunk = os.read(fd, _CHUNK)
        if not chunk:
            self._end(fd)
            return
        kept = chunk[: self._left]
        text += kept
        self._left -= len(kept)
        if len(kept) < len(chunk) and not self.overflow.done():
            self.overflow.set_result(None)

    def _end(self, fd: int) -> None:
        asyncio.get_running_loop().remove_reader(fd)
        os.close(fd)
        self._open.discard(fd)
        if not self._open:
            self._drained.set()
