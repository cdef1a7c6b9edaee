"""The chat model's matrices in the forms that MatMulNBits multiplies with.

Matrices are named as in the graph: `l3.attention.qkv`, `l3.attention.out`, `l3.ffn.gate_up` and
`l3.ffn.down`; norms by the matrix that follows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clawdbot.exporter.blocks import Blocks, packed_nibbles, requantised_8bit, stacked
from clawdbot.exporter.gguf_llama import LlamaConfig, LlamaFile

Floats = NDArray[np.float32]

FLOAT_ACTIVATIONS = 1
INT8_ACTIVATIONS = 4
"""Values of MatMulNBits' accuracy_level."""


@dataclass(frozen=True)
class StoredMatrix:
    """Constants and attributes of one MatMulNBits."""

    quants: NDArray[np.uint8]
    scales: Floats
    zero_points: Floats | None
    bits: int
    accuracy_level: int
    rows: int
    columns: int


class ChatWeights(Protocol):
    """What the graph asks for."""

    config: LlamaConfig
    accuracy_level: int

    def embedding(self) -> Blocks:
        """Return the table [vocabulary, width]; it is the output head as well."""

    def norm(self, following: str) -> Floats:
        """Return the scale [width] of the norm before a matrix, or before `head`."""

    def matrix(self, name: str) -> StoredMatrix:
        """Return a matrix."""


class ExactWeights:
    """The file's own 4-bit blocks, with float zero points: no rounding at all."""

    accuracy_level = FLOAT_ACTIVATIONS

    def __init__(self, source: LlamaFile) -> None:
        """Read from `source`."""
        self.config = source.config
        self._source = source

    def embedding(self) -> Blocks:
        """Return the table [vocabulary, width]."""
        return self._source.matrix("token_embd.weight")

    def norm(self, following: str) -> Floats:
        """Return the scale [width] of the norm before a matrix, or before `head`."""
        layer, _, part = following.partition(".")
        if layer == "head":
            return self._source.vector("output_norm.weight")
        stored = {"attention.qkv": "attn_norm", "ffn.gate_up": "ffn_norm"}[part]
        return self._source.vector(f"blk.{layer[1:]}.{stored}.weight")

    def matrix(self, name: str) -> StoredMatrix:
        """Return a matrix of 4 bits a weight."""
        blocks = self.blocks(name)
        scales, zeros = blocks.float_zero_points()
        packed = packed_nibbles(blocks.quants_for_zero_points())
        return StoredMatrix(
            packed, scales, zeros, 4, self.accuracy_level, blocks.rows, blocks.columns
        )

    def blocks(self, name: str) -> Blocks:
        """Return a matrix as the file has it, its parts stacked."""
        layer, _, part = name.partition(".")
        prefix, source, config = f"blk.{layer[1:]}", self._source, self.config
        if part == "attention.qkv":
            query = source.rotary_matrix(f"{prefix}.attn_q.weight", config.heads)
            key = source.rotary_matrix(f"{prefix}.attn_k.weight", config.kv_heads)
            return stacked([query, key, source.matrix(f"{prefix}.attn_v.weight")])
        if part == "ffn.gate_up":
            both = (source.matrix(f"{prefix}.ffn_{half}.weight") for half in ("gate", "up"))
            return stacked(list(both))
        stored = {"attention.out": "attn_output", "ffn.down": "ffn_down"}[part]
        return source.matrix(f"{prefix}.{stored}.weight")


class RoundedWeights:
    """8 bits a weight, with activation outliers moved into the weights first.

    The divisor of an input channel costs nothing while running: it goes into the norm before
    `qkv` and `gate_up`, into the value rows before `out` and into the up rows before `down`.
    """

    accuracy_level = INT8_ACTIVATIONS

    def __init__(self, exact: ExactWeights, divisors: Mapping[str, Floats]) -> None:
        """Round what `exact` gives.

        Args:
            exact: the weights.
            divisors: per matrix, what each of its input channels is divided by. For
                `attention.out`, heads that share values must share divisors.
        """
        self.config = exact.config
        self._exact = exact
        self._divisors = divisors

    def embedding(self) -> Blocks:
        """Return the table [vocabulary, width]."""
        return self._exact.embedding()

    def norm(self, following: str) -> Floats:
        """Return the scale [width] of the norm before a matrix, or before `head`."""
        scale = self._exact.norm(following)
        return scale if following == "head" else scale / self._divisors[following]

    def matrix(self, name: str) -> StoredMatrix:
        """Return a matrix of 8 bits a weight."""
        values = self._exact.blocks(name).dequantised() * self._divisors[name]
        values /= self._produced(name, values.shape[0])[:, None]
        rounded = requantised_8bit(values)
        return StoredMatrix(
            rounded.quants, rounded.scales, None, 8, self.accuracy_level, *values.shape
        )

    def _produced(self, name: str, rows: int) -> Floats:
        """Return what each output of a matrix is divided by for the matrix that reads it."""
        layer, _, part = name.partition(".")
        produced = np.ones(rows, np.float32)
        config = self.config
        if part == "attention.qkv":
            group = config.heads // config.kv_heads
            shared = self._divisors[f"{layer}.attention.out"].reshape(-1, group, config.head_dim)
            produced[-config.kv_heads * config.head_dim :] = shared[:, 0].reshape(-1)
        elif part == "ffn.gate_up":
            produced[config.ffn :] = self._divisors[f"{layer}.ffn.down"]
        return produced
