"""Write the chat model's tokenizer.json from the GGUF metadata (see docs/adr/0005)."""

from __future__ import annotations

from typing import Any, Protocol

from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from clawdbot.exporter.errors import UnexpectedContents

_CONTROL = 3
"""GGUF's token type of pieces that only a template may produce."""


class Metadata(Protocol):
    """The part of a GGUF file that describes its tokenizer."""

    def field(self, key: str) -> Any:
        """Return a metadata value."""


def chat_tokenizer(source: Metadata) -> Tokenizer:
    """Return the byte-level BPE tokenizer that the GGUF file describes.

    Raises:
        UnexpectedContents: the file names another kind of tokenizer.
    """
    kind = source.field("tokenizer.ggml.model"), source.field("tokenizer.ggml.pre")
    if kind != ("gpt2", "smollm"):
        raise UnexpectedContents(f"tokenizer {kind!r} is not the one this exporter writes")
    pieces: list[str] = source.field("tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in source.field("tokenizer.ggml.merges")]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=merges, fuse_unk=False))
    # Digits first, then the GPT-2 pattern on what lies between them: the order decides how
    # spaces before a digit are cut.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    types = source.field("tokenizer.ggml.token_type")
    tokenizer.add_special_tokens(
        [AddedToken(p, special=True) for p, t in zip(pieces, types, strict=True) if t == _CONTROL]
    )
    return tokenizer
