"""An answer while it is being generated."""

from __future__ import annotations

from collections.abc import Sequence

from clawdbot.inference.domain.detokenizer import Decode, Detokenizer
from clawdbot.inference.domain.stop_text import StopText


class Answer:
    """Turns tokens into text that can be shown, up to a stop string."""

    def __init__(self, decode: Decode, stops: Sequence[str]) -> None:
        self._detokenizer = Detokenizer(decode)
        self._stop = StopText(stops)
        self._shown: list[str] = []
        self.token_count = 0

    @property
    def is_stopped(self) -> bool:
        """Whether a stop string was found."""
        return self._stop.is_stopped

    @property
    def text(self) -> str:
        """All that was shown so far."""
        return "".join(self._shown)

    def push(self, token: int) -> str:
        """Return the text to show now."""
        self.token_count += 1
        return self._show(self._stop.push(self._detokenizer.push(token)))

    def finish(self) -> str:
        """Return the rest; no token follows."""
        return self._show(self._stop.push(self._detokenizer.finish()) + self._stop.finish())

    def _show(self, text: str) -> str:
        if text:
            self._shown.append(text)
        return text
