"""Read a llama-architecture GGUF file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader
from numpy.typing import NDArray

from clawdbot.exporter.blocks import Blocks, read_q4_0, read_q4_1, read_q8_0
from clawdbot.exporter.errors import UnexpectedContents

_READERS = {
    GGMLQuantizationType.Q4_0: read_q4_0,
    GGMLQuantizationType.Q4_1: read_q4_1,
    GGMLQuantizationType.Q8_0: read_q8_0,
}


@dataclass(frozen=True)
class LlamaConfig:
    """The numbers that shape the graph."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocabulary: int
    context: int
    rope_base: float
    epsilon: float


class LlamaFile:
    """An opened GGUF file; tensors are read when asked for."""

    def __init__(self, path: Path) -> None:
        """Open `path`.

        Raises:
            UnexpectedContents: the file does not hold a llama model.
        """
        self._reader = GGUFReader(path)
        if self.field("general.architecture") != "llama":
            raise UnexpectedContents(f"{path.name!r} is not of the llama architecture")
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}
        self.config = self._config()

    def field(self, key: str) -> Any:
        """Return a metadata value.

        Raises:
            UnexpectedContents: the file has no such key.
        """
        found = self._reader.get_field(key)
        if found is None:
            raise UnexpectedContents(f"the GGUF file has no {key!r}: it is not the pinned model")
        return found.contents()

    def vector(self, name: str) -> NDArray[np.float32]:
        """Return a float32 tensor of one axis."""
        return np.array(self._tensors[name].data, dtype=np.float32)

    def matrix(self, name: str) -> Blocks:
        """Return a quantised tensor [output features, input features].

        Raises:
            UnexpectedContents: it is in a form that this exporter does not read.
        """
        tensor = self._tensors[name]
        read = _READERS.get(tensor.tensor_type)
        if read is None:
            raise UnexpectedContents(f"tensor {name!r} is {tensor.tensor_type.name}, not readable")
        return read(np.asarray(tensor.data))

    def rotary_matrix(self, name: str, heads: int) -> Blocks:
        """Return a query or key matrix with its rows in rotate-half order.

        GGUF interleaves the two halves of each head; GroupQueryAttention wants them apart.
        Blocks run along the input axis, so moving rows is exact.
        """
        half = self.config.head_dim // 2
        rows = np.arange(heads * self.config.head_dim).reshape(heads, half, 2)
        return self.matrix(name).taken(rows.swapaxes(1, 2).reshape(-1))

    def _config(self) -> LlamaConfig:
        heads = int(self.field("llama.attention.head_count"))
        width = int(self.field("llama.embedding_length"))
        return LlamaConfig(
            layers=int(self.field("llama.block_count")),
            width=width,
            heads=heads,
            kv_heads=int(self.field("llama.attention.head_count_kv")),
            head_dim=width // heads,
            ffn=int(self.field("llama.feed_forward_length")),
            vocabulary=int(self.field("llama.vocab_size")),
            context=int(self.field("llama.context_length")),
            rope_base=float(self.field("llama.rope.freq_base")),
            epsilon=float(self.field("llama.attention.layer_norm_rms_epsilon")),
        )
