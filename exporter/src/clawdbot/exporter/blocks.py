"""Block-quantised weights: read GGML's layouts, write ONNX Runtime's.

GGML stores 32 weights of a row together; in its 4-bit forms byte j holds weight j in the low
nibble and weight j + 16 in the high one. ONNX Runtime's MatMulNBits and GatherBlockQuantized hold
weights 2j and 2j + 1 there. Re-pairing them loses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clawdbot.exporter.errors import UnexpectedContents

BLOCK = 32
"""Weights in a block, along the input axis."""

_HALF = BLOCK // 2


@dataclass(frozen=True)
class Blocks:
    """A weight matrix [rows, blocks * 32] whose values are `quants * scales + offsets`."""

    quants: NDArray[np.uint8]
    """[rows, blocks, 32]"""
    scales: NDArray[np.float32]
    """[rows, blocks]"""
    offsets: NDArray[np.float32]
    """[rows, blocks]"""

    @property
    def rows(self) -> int:
        """Output features."""
        return int(self.quants.shape[0])

    @property
    def columns(self) -> int:
        """Input features."""
        return int(self.quants.shape[1]) * BLOCK

    def dequantised(self) -> NDArray[np.float32]:
        """Return the float32 matrix [rows, columns]."""
        values = self.quants * self.scales[..., None] + self.offsets[..., None]
        return values.reshape(self.rows, self.columns)

    def taken(self, rows: NDArray[np.intp]) -> Blocks:
        """Return the matrix with its rows in the given order."""
        return Blocks(self.quants[rows], self.scales[rows], self.offsets[rows])

    def float_zero_points(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return (scales, zero points), both [rows, blocks], with value = (q - zero) * scale."""
        # A constant block has scale 0 and carries its value in the offset alone; its quants are
        # unused by GGML's arithmetic, and must be 0 in ours for (0 - -1) * offset to be exact.
        constant = self.scales == 0
        scales = np.where(constant, self.offsets, self.scales)
        safe = np.where(self.scales == 0, np.float32(1), self.scales)
        zeros = np.where(constant, np.float32(-1), -self.offsets / safe)
        return scales.astype(np.float32), zeros.astype(np.float32)

    def quants_for_zero_points(self) -> NDArray[np.uint8]:
        """Return the quants to use with `float_zero_points`, [rows, blocks, 32]."""
        return np.where((self.scales == 0)[..., None], np.uint8(0), self.quants)


def stacked(parts: list[Blocks]) -> Blocks:
    """Return one matrix with the rows of all `parts`, in order."""
    return Blocks(
        np.concatenate([part.quants for part in parts]),
        np.concatenate([part.scales for part in parts]),
        np.concatenate([part.offsets for part in parts]),
    )


def read_q4_0(raw: NDArray[np.uint8]) -> Blocks:
    """Read rows of Q4_0 blocks (fp16 scale, 16 bytes); value = (q - 8) * scale.

    Args:
        raw: [rows, blocks * 18] bytes.
    """
    blocks = _blocks(raw, 18)
    scales = _halves(blocks, 0)
    return Blocks(_split_nibbles(blocks[..., 2:]), scales, -8 * scales)


def read_q4_1(raw: NDArray[np.uint8]) -> Blocks:
    """Read rows of Q4_1 blocks (fp16 scale, fp16 minimum, 16 bytes); value = q * scale + minimum.

    Args:
        raw: [rows, blocks * 20] bytes.
    """
    blocks = _blocks(raw, 20)
    return Blocks(_split_nibbles(blocks[..., 4:]), _halves(blocks, 0), _halves(blocks, 2))


def read_q8_0(raw: NDArray[np.uint8]) -> Blocks:
    """Read rows of Q8_0 blocks (fp16 scale, 32 signed bytes), as unsigned quants around 128.

    Args:
        raw: [rows, blocks * 34] bytes.
    """
    blocks = _blocks(raw, 34)
    scales = _halves(blocks, 0)
    return Blocks(blocks[..., 2:] ^ np.uint8(0x80), scales, -128 * scales)


def requantised_8bit(values: NDArray[np.float32]) -> Blocks:
    """Quantise a float matrix [rows, columns] to 8 bits a weight, symmetric around 128."""
    blocks = values.reshape(values.shape[0], -1, BLOCK)
    scales = (np.abs(blocks).max(axis=-1) / 127).astype(np.float32)
    safe = np.where(scales == 0, np.float32(1), scales)
    quants = (np.rint(blocks / safe[..., None]) + 128).astype(np.uint8)
    return Blocks(quants, scales, -128 * scales)


def packed_nibbles(quants: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pack 4-bit quants [..., 32] to bytes [..., 16] as ONNX Runtime reads them."""
    return quants[..., 0::2] | (quants[..., 1::2] << np.uint8(4))


def _split_nibbles(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.concatenate([packed & np.uint8(0x0F), packed >> np.uint8(4)], axis=-1)


def _blocks(raw: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    if raw.ndim != 2 or raw.shape[1] % size:
        raise UnexpectedContents(f"rows of shape {raw.shape} are not made of {size}-byte blocks")
    return np.ascontiguousarray(raw).reshape(raw.shape[0], -1, size)


def _halves(blocks: NDArray[np.uint8], at: int) -> NDArray[np.float32]:
    halves = np.ascontiguousarray(blocks[..., at : at + 2]).view("<f2")[..., 0]
    return halves.astype(np.float32)
