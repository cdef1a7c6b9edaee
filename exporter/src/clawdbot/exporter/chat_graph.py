"""Write the chat model's graph: a llama decoder in ONNX Runtime's fused operators.

Inputs: `input_ids` int64 [batch, n]; `attention_mask` int64 [batch, total], ones for the tokens
held by the cache after this step; `past_key_values.{i}.key|value` float32 [batch, kv_heads,
capacity, head_dim]. Outputs: `logits` float32 [batch, 1, vocabulary] (the last token's; [batch, n,
vocabulary] on request) and `present.{i}.key|value`. Binding present to the memory of past makes
the cache grow in place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clawdbot.exporter.chat_weights import ChatWeights
from clawdbot.exporter.gguf_llama import LlamaConfig
from clawdbot.exporter.graph import FLOAT, INT32, INT64, GraphWriter, Shape
from clawdbot.exporter.smoothing import PEAK


def write_chat_graph(weights: ChatWeights, *, all_logits: bool, probe: bool = False) -> bytes:
    """Return the ONNX file of a model.

    Args:
        weights: its matrices.
        all_logits: give logits for every position instead of the last one only.
        probe: add an output `<matrix>.peak` [input features] per matrix with the greatest
            magnitude that each of its inputs takes.
    """
    return _ChatGraph(weights, all_logits, probe).serialised()


class _ChatGraph:
    def __init__(self, weights: ChatWeights, all_logits: bool, probe: bool) -> None:
        self._weights = weights
        self._config = weights.config
        self._all_logits = all_logits
        self._probe = probe
        self._graph = GraphWriter("llama")

    def serialised(self) -> bytes:
        self._declare()
        self._embedding()
        self._lengths()
        hidden, stream = self._first_norm(), "embedding"
        for layer in range(self._config.layers):
            hidden, stream = self._layer(layer, hidden, stream)
        self._head(hidden)
        return self._graph.serialised()

    def _declare(self) -> None:
        graph, config = self._graph, self._config
        graph.input("input_ids", INT64, ["batch", "n"])
        graph.input("attention_mask", INT64, ["batch", "total"])
        positions = "n" if self._all_logits else 1
        graph.output("logits", FLOAT, ["batch", positions, config.vocabulary])
        cache: Shape = ["batch", config.kv_heads, "capacity", config.head_dim]
        for layer in range(config.layers):
            for part in ("key", "value"):
                graph.input(f"past_key_values.{layer}.{part}", FLOAT, cache)
                graph.output(f"present.{layer}.{part}", FLOAT, cache)

    def _embedding(self) -> None:
        # The output head is the embedding again, so both operators read one stored table:
        # MatMulNBits wants it [rows, blocks, 32], and Gather gives back the same three axes.
        graph, table = self._graph, self._weights.embedding()
        graph.constant("embedding.quants", table.quants)
        graph.constant("embedding.scales", table.scales)
        scales = graph.constant("embedding.gather_scales", table.scales[..., None])
        blocks = graph.fused(
            "GatherBlockQuantized",
            ["embedding.quants", "input_ids", scales],
            ["embedding.blocks"],
            bits=8,
            block_size=32,
            gather_axis=0,
            quantize_axis=2,
        )
        shape = graph.constant("embedding.shape", np.array([0, 0, self._config.width], np.int64))
        graph.node("Reshape", [blocks, shape], "embedding")

    def _lengths(self) -> None:
        graph = self._graph
        axis = graph.constant("mask.axis", np.array([1], np.int64))
        held = graph.node("ReduceSum", ["attention_mask", axis], "mask.held", keepdims=0)
        one = graph.constant("mask.one", np.int64(1))
        last = graph.node("Sub", [held, one], "mask.last")
        graph.node("Cast", [last], "seqlens_k", to=INT32)
        shape = graph.node("Shape", ["attention_mask"], "mask.shape")
        total = graph.node("Gather", [shape, one], "mask.total", axis=0)
        graph.node("Cast", [total], "total_sequence_length", to=INT32)
        cosines, sines = rotary_tables(self._config)
        graph.constant("rotary.cos", cosines)
        graph.constant("rotary.sin", sines)

    def _first_norm(self) -> str:
        gamma = self._graph.constant("first.gamma", self._weights.norm("l0.attention.qkv"))
        return self._graph.node(
            "SimplifiedLayerNormalization",
            ["embedding", gamma],
            "first.norm",
            axis=-1,
            epsilon=self._config.epsilon,
            stash_type=1,
        )

    def _layer(self, layer: int, hidden: str, stream: str) -> tuple[str, str]:
        attended = self._attention(layer, hidden)
        hidden, stream = self._add_and_norm(attended, stream, f"l{layer}.ffn.gate_up")
        widened = self._feed_forward(layer, hidden)
        last = layer + 1 == self._config.layers
        following = "head" if last else f"l{layer + 1}.attention.qkv"
        return self._add_and_norm(widened, stream, following)

    def _attention(self, layer: int, hidden: str) -> str:
        name, config = f"l{layer}.attention", self._config
        packed = self._matmul(f"{name}.qkv", hidden)
        past = [f"past_key_values.{layer}.key", f"past_key_values.{layer}.value"]
        lengths = ["seqlens_k", "total_sequence_length", "rotary.cos", "rotary.sin"]
        mixed = self._graph.fused(
            "GroupQueryAttention",
            [packed, "", "", *past, *lengths],
            [name, f"present.{layer}.key", f"present.{layer}.value"],
            num_heads=config.heads,
            kv_num_heads=config.kv_heads,
            do_rotary=1,
            rotary_interleaved=0,
        )
        return self._matmul(f"{name}.out", mixed)

    def _feed_forward(self, layer: int, hidden: str) -> str:
        graph, name, ffn = self._graph, f"l{layer}.ffn", self._config.ffn
        both = self._matmul(f"{name}.gate_up", hidden)
        gate, up = graph.split(both, [ffn, ffn], [f"{name}.gate", f"{name}.up"])
        silu = graph.fused("QuickGelu", [gate], [f"{name}.silu"], alpha=1.0)
        return self._matmul(f"{name}.down", graph.node("Mul", [silu, up], f"{name}.gated"))

    def _add_and_norm(self, value: str, stream: str, following: str) -> tuple[str, str]:
        gamma = self._graph.constant(f"{following}.gamma", self._weights.norm(following))
        outputs = [f"{following}.norm", "", "", f"{following}.stream"]
        self._graph.fused(
            "SkipSimplifiedLayerNormalization",
            [value, stream, gamma],
            outputs,
            epsilon=self._config.epsilon,
        )
        return outputs[0], outputs[3]

    def _head(self, hidden: str) -> None:
        graph, config = self._graph, self._config
        if not self._all_logits:
            last = graph.constant("head.last", np.array([-1], np.int64))
            hidden = graph.node("Gather", [hidden, last], "head.hidden", axis=1)
        graph.fused(
            "MatMulNBits",
            [hidden, "embedding.quants", "embedding.scales"],
            ["logits"],
            K=config.width,
            N=config.vocabulary,
            bits=8,
            block_size=32,
            accuracy_level=self._weights.accuracy_level,
        )

    def _matmul(self, name: str, hidden: str) -> str:
        graph, stored = self._graph, self._weights.matrix(name)
        if self._probe:
            graph.peak(hidden, f"{name}{PEAK}")
        inputs = [
            hidden,
            graph.constant(f"{name}.quants", stored.quants),
            graph.constant(f"{name}.scales", stored.scales),
        ]
        if stored.zero_points is not None:
            inputs.append(graph.constant(f"{name}.zeros", stored.zero_points))
        return graph.fused(
            "MatMulNBits",
            inputs,
            [name],
            K=stored.columns,
            N=stored.rows,
            bits=stored.bits,
            block_size=32,
            accuracy_level=stored.accuracy_level,
        )


def rotary_tables(config: LlamaConfig) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the cosines and sines, each float32 [context, head_dim / 2]."""
    exponents = np.arange(0, config.head_dim, 2, dtype=np.float64) / config.head_dim
    angles = np.outer(np.arange(config.context, dtype=np.float64), config.rope_base**-exponents)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
