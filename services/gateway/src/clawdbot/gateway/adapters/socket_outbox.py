"""What waits to be sent on one WebSocket: bounded, in order, pieces of replies dropped first."""

from __future__ import annotations

from collections import deque


class Overflow(Exception):
    """More waits than may; what would be lost is fetched again by whoever resumes."""


class Outbox:
    """Frames in the order in which they are to be sent.

    Args:
        max_frames: how many may wait.
        max_chars: how many characters they may have; a single longer frame is still taken.
    """

    __slots__ = ("_chars", "_frames", "_max_chars", "_max_frames")

    def __init__(self, max_frames: int, max_chars: int) -> None:
        self._max_frames = max_frames
        self._max_chars = max_chars
        # A deque holds half a kilobyte from the start, and most connections are idle.
        self._frames: deque[tuple[str, bool]] | None = None
        self._chars = 0

    def __bool__(self) -> bool:
        return bool(self._frames)

    def put(self, frame: str) -> None:
        """Add a frame that must arrive; dispensable ones make room for it.

        Raises:
            Overflow: there is no room all the same.
        """
        if not self._fits(frame):
            self._drop_dispensable()
        if not self._fits(frame):
            raise Overflow
        self._add(frame, is_dispensable=False)

    def offer(self, frame: str) -> bool:
        """Add a frame that need not arrive; return whether there was room."""
        has_room = self._fits(frame)
        if has_room:
            self._add(frame, is_dispensable=True)
        return has_room

    def pop(self) -> str:
        """Take the frame that waits for longest."""
        if not self._frames:
            raise IndexError("nothing waits")
        frame, _ = self._frames.popleft()
        self._chars -= len(frame)
        if not self._frames:
            self._frames = None
        return frame

    def _fits(self, frame: str) -> bool:
        if not self._frames:
            return True
        has_place = len(self._frames) < self._max_frames
        return has_place and self._chars + len(frame) <= self._max_chars

    def _add(self, frame: str, *, is_dispensable: bool) -> None:
        if self._frames is None:
            self._frames = deque()
        self._frames.append((frame, is_dispensable))
        self._chars += len(frame)

    def _drop_dispensable(self) -> None:
        kept = deque(item for item in self._frames or () if not item[1])
        self._chars = sum(len(frame) for frame, _ in kept)
        self._frames = kept
