"""An answer for a reader who cannot be told to forget what they read."""

from __future__ import annotations


class ContinuedText:
    """Lets through what certainly begins the stored answer.

    Deltas are broadcast: some may be lost, and a worker that takes a turn over writes it again,
    perhaps otherwise. White space at either end is held back, since the stored answer has none.
    """

    def __init__(self) -> None:
        self._shown = ""
        self._written = ""
        self._expected = 0

    def push(self, index: int, text: str) -> str:
        """Return what may be shown now.

        Args:
            index: counts from 0; 0 starts the text anew.
            text: the delta.
        """
        if index == 0:
            self._written, self._expected = "", 0
        if index != self._expected:
            # What follows a gap is shown when the answer is stored.
            return ""
        self._expected += 1
        self._written += text
        return self._show(self._written.strip())

    def finish(self, content: str) -> str | None:
        """Return what follows of the stored answer; None when it begins otherwise than shown."""
        return content[len(self._shown) :] if content.startswith(self._shown) else None

    def _show(self, text: str) -> str:
        if not text.startswith(self._shown):
            return ""
        new = text[len(self._shown) :]
        self._shown = text
        return new
