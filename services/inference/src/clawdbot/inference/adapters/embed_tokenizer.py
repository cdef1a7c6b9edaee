"""Texts to windows of tokens that an embedding model can read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clawdbot.inference.adapters.chat_tokenizer import open_tokenizer
from clawdbot.inference.domain.windows import split
from clawdbot.schema.errors import NotFound
from clawdbot.schema.inference import Role

_PROBE = "a"


class EmbedTokenizer:
    """An embedding model's tokenizer.

    Args:
        definition: contents of tokenizer.json.
        roles: what stands before a text, by its role.
        context_length: tokens of one window, with the model's own at both ends.

    Raises:
        NotFound: the tokenizer is not usable.
    """

    def __init__(self, definition: str, roles: Mapping[Role, str], context_length: int) -> None:
        self._tokenizer = open_tokenizer(definition)
        # Some tokenizer.json pad or cut on their own account, which would cost text unnoticed.
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._roles = roles
        self._before, self._after = self._frame()
        self._room = context_length - len(self._before) - len(self._after)

    def windows(self, texts: Sequence[str], role: Role) -> list[list[list[int]]]:
        """Return the windows of each text, ready to be run; each text has at least one."""
        prefix = self._roles.get(role, "")
        encoded = self._tokenizer.encode_batch_fast(
            [prefix + text for text in texts], add_special_tokens=False
        )
        return [self._framed(text.ids) for text in encoded]

    def _framed(self, tokens: Sequence[int]) -> list[list[int]]:
        return [[*self._before, *window, *self._after] for window in split(tokens, self._room)]

    def _frame(self) -> tuple[list[int], list[int]]:
        """Return the tokens that the model wants before and after every window."""
        bare = self._tokenizer.encode(_PROBE, add_special_tokens=False).ids
        framed = self._tokenizer.encode(_PROBE, add_special_tokens=True).ids
        for start in range(len(framed) - len(bare) + 1):
            if framed[start : start + len(bare)] == bare:
                return framed[:start], framed[start + len(bare) :]
        raise NotFound("the tokenizer does not frame texts by tokens before and after them")
