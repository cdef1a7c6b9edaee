"""The children's log lines on our terminal: prefixed, bounded, and never in anybody's way."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable

from rich.console import Console
from rich.text import Text

MAX_LINE_BYTES = 8192
MAX_WAITING_LINES = 10_000
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
_STYLES = {
    "clawdbot": "bold",
    "broker": "bright_black",
    "gateway": "cyan",
    "assistant": "green",
    "inference": "magenta",
    "memory": "yellow",
    "executor": "blue",
}
_WIDTH = max(len(name) for name in _STYLES)

Say = Callable[[str, str], None]
"""Takes the name of who speaks, and a line."""


def printable(text: str) -> str:
    """Return `text` unable to move the cursor or to rename the terminal's window."""
    return _CONTROL.sub("\ufffd", text)


class LineSplitter:
    """Cuts a stream of bytes into lines of printable text, each at most `limit` bytes long."""

    def __init__(self, limit: int = MAX_LINE_BYTES) -> None:
        self._limit = limit
        self._held = bytearray()
        self._cut = 0

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that `data` completes."""
        *ended, rest = data.split(b"\n")
        lines = []
        for part in ended:
            self._hold(part)
            lines.append(self._take())
        self._hold(rest)
        return lines

    def rest(self) -> list[str]:
        """Return what has no line end yet, as nothing follows."""
        return [self._take()] if self._held else []

    def _hold(self, part: bytes) -> None:
        room = self._limit - len(self._held)
        self._held += part[:room]
        self._cut += max(0, len(part) - room)

    def _take(self) -> str:
        text = self._held.decode("utf-8", "replace").rstrip("\r")
        note = f" ... [{self._cut} more bytes]" if self._cut else ""
        self._held.clear()
        self._cut = 0
        return printable(text) + note


class LogPrinter:
    """Prints lines from a thread of its own: a terminal that stands still holds up nobody.

    Lines that do not fit in the queue are counted and dropped.
    """

    def __init__(self, console: Console, *, limit: int = MAX_WAITING_LINES) -> None:
        self._console = console
        self._waiting: queue.Queue[tuple[str, str]] = queue.Queue(limit)
        self._dropped = 0
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._print_all, name="log printer", daemon=True)
        self._thread.start()

    def say(self, name: str, line: str) -> None:
        """Have `line` printed with its speaker's name in front."""
        try:
            self._waiting.put_nowait((name, line))
        except queue.Full:
            self._dropped += 1

    def close(self, *, within_s: float = 2) -> None:
        """Print what waits, as far as the terminal takes it in time."""
        self._is_closing.set()
        self._thread.join(within_s)

    def _print_all(self) -> None:
        while True:
            try:
                name, line = self._waiting.get(timeout=0.1)
            except queue.Empty:
                if self._is_closing.is_set():
                    return
                continue
            self._print(name, line)
            if dropped := self._dropped:
                self._dropped = 0
                self._print("clawdbot", f"{dropped} log lines dropped: the terminal is too slow")

    def _print(self, name: str, line: str) -> None:
        prefix = Text(f"{name:<{_WIDTH}} | ", style=_STYLES.get(name, ""))
        try:
            self._console.print(prefix + Text(line), soft_wrap=True, highlight=False)
        except OSError:
            # Whoever read our output is gone; the stack runs on without a reader.
            self._dropped += 1
