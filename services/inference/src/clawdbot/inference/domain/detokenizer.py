"""Text from tokens as they come, complete characters only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

REPLACEMENT = "\ufffd"
"""What a decoder shows for bytes that are no UTF-8, yet or at all."""

Decode = Callable[[Sequence[int]], str]


class Detokenizer:
    """Decodes a growing sequence of tokens; a character cut between tokens is held back.

    Args:
        decode: text of a sequence of tokens; an incomplete character at its end becomes one or
            more replacement characters.
    """

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        # Decoded together: the last token that is out, since some decoders treat a first token
        # in a way of its own (leading space), and all that came since.
        self._window: list[int] = []
        self._shown = 0

    def push(self, token: int) -> str:
        """Return the characters that `token` completes, often one word, sometimes none."""
        self._window.append(token)
        text = self._decode(self._window)
        complete = text.rstrip(REPLACEMENT)
        new = complete[self._shown :]
        self._shown += len(new)
        if text == complete:
            self._window = [token]
            self._shown = len(self._decode(self._window))
        return new

    def finish(self) -> str:
        """Return what is left, a replacement character for bytes that never became one."""
        return self._decode(self._window)[self._shown :] if self._window else ""
