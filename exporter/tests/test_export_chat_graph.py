"""A tiny llama, written as GGUF, against a plain implementation in GGUF's own conventions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from gguf import GGMLQuantizationType, GGUFWriter, quants
from numpy.typing import NDArray

from clawdbot.exporter.chat_graph import write_chat_graph
from clawdbot.exporter.chat_recipe import shared_by_group
from clawdbot.exporter.chat_weights import ChatWeights, ExactWeights, RoundedWeights
from clawdbot.exporter.gguf_llama import LlamaFile

Floats = NDArray[np.float32]

LAYERS, WIDTH, HEADS, KV_HEADS, FFN, VOCABULARY, CONTEXT = 2, 128, 4, 2, 96, 160, 64
DIM = WIDTH // HEADS
BASE, EPSILON = 10000.0, 1e-5
IDS = np.array([[3, 17, 99, 4, 150, 8, 8]], np.int64)

SHAPES = {
    "attn_q": (WIDTH, WIDTH),
    "attn_k": (KV_HEADS * DIM, WIDTH),
    "attn_v": (KV_HEADS * DIM, WIDTH),
    "attn_output": (WIDTH, WIDTH),
    "ffn_gate": (FFN, WIDTH),
    "ffn_up": (FFN, WIDTH),
    "ffn_down": (WIDTH, FFN),
}


@pytest.fixture(scope="module")
def tensors(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Floats]]:
    """Write the model; return its path and the values that its tensors stand for."""
    random = np.random.default_rng(5)
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    writer = GGUFWriter(path, "llama")
    write_header(writer)
    values: dict[str, Floats] = {}
    for name, shape in tensor_shapes().items():
        data = (random.normal(size=shape) * 0.2).astype(np.float32)
        if len(shape) == 1:
            values[name] = data + 1
            writer.add_tensor(name, values[name])
            continue
        kind = GGMLQuantizationType.Q8_0 if "embd" in name else GGMLQuantizationType.Q4_1
        packed = quants.quantize(data, kind)
        values[name] = quants.dequantize(packed, kind)
        writer.add_tensor(name, packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path, values


def write_header(writer: GGUFWriter) -> None:
    writer.add_block_count(LAYERS)
    writer.add_embedding_length(WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_feed_forward_length(FFN)
    writer.add_vocab_size(VOCABULARY)
    writer.add_context_length(CONTEXT)
    writer.add_rope_freq_base(BASE)
    writer.add_layer_norm_rms_eps(EPSILON)


def tensor_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (VOCABULARY, WIDTH),
        "output_norm.weight": (WIDTH,),
    }
    for layer in range(LAYERS):
        for name, shape in SHAPES.items():
            shapes[f"blk.{layer}.{name}.weight"] = shape
        for name in ("attn_norm", "ffn_norm"):
            shapes[f"blk.{layer}.{name}.weight"] = (WIDTH,)
    return shapes


def rms_norm(x: Floats, scale: Floats) -> Floats:
    return np.asarray(x / np.sqrt((x * x).mean(-1, keepdims=True) + EPSILON) * scale)


def rotated(x: Floats) -> Floats:
    """Turn neighbouring pairs of [tokens, heads, DIM] by angles that grow with the position."""
    angles = np.outer(np.arange(len(x)), BASE ** (-np.arange(0, DIM, 2) / DIM))[:, None]
    turned = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * angles)
    return np.stack([turned.real, turned.imag], -1).reshape(x.shape).astype(np.float32)


def attention(x: Floats, weights: dict[str, Floats]) -> Floats:
    tokens = len(x)
    query = rotated((x @ weights["attn_q"].T).reshape(tokens, HEADS, DIM))
    key = rotated((x @ weights["attn_k"].T).reshape(tokens, KV_HEADS, DIM))
    value = (x @ weights["attn_v"].T).reshape(tokens, KV_HEADS, DIM)
    group = HEADS // KV_HEADS
    scores = np.einsum("qhd,khd->hqk", query, key.repeat(group, 1)) / np.sqrt(DIM)
    scores += np.triu(np.full((tokens, tokens), -np.inf), 1)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    mixed = np.einsum("hqk,khd->qhd", shares, value.repeat(group, 1))
    return np.asarray(mixed.reshape(tokens, WIDTH) @ weights["attn_output"].T)


def plain_logits(values: dict[str, Floats]) -> Floats:
    x = values["token_embd.weight"][IDS[0]]
    for layer in range(LAYERS):
        prefix = f"blk.{layer}."
        weights = {
            name.removeprefix(prefix).removesuffix(".weight"): value
            for name, value in values.items()
            if name.startswith(prefix)
        }
        x = x + attention(rms_norm(x, weights["attn_norm"]), weights)
        normed = rms_norm(x, weights["ffn_norm"])
        gate = normed @ weights["ffn_gate"].T
        wide = gate / (1 + np.exp(-gate)) * (normed @ weights["ffn_up"].T)
        x = x + wide @ weights["ffn_down"].T
    return rms_norm(x, values["output_norm.weight"]) @ values["token_embd.weight"].T


def run(weights: ChatWeights, ids: NDArray[np.int64]) -> Floats:
    graph = write_chat_graph(weights, all_logits=True)
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), **empty_cache(0)}
    return np.asarray(session.run(["logits"], feed)[0][0])


def empty_cache(capacity: int) -> dict[str, Floats]:
    return {
        f"past_key_values.{layer}.{part}": np.zeros((1, KV_HEADS, capacity, DIM), np.float32)
        for layer in range(LAYERS)
        for part in ("key", "value")
    }


def random_divisors(weights: ExactWeights) -> dict[str, Floats]:
    random = np.random.default_rng(9)
    found: dict[str, Floats] = {}
    for layer in range(LAYERS):
        for part in ("attention.qkv", "attention.out", "ffn.gate_up", "ffn.down"):
            size = FFN if part == "ffn.down" else WIDTH
            chosen = np.exp2(random.integers(-1, 2, size)).astype(np.float32)
            if part == "attention.out":
                chosen = shared_by_group(chosen, weights.config)
            found[f"l{layer}.{part}"] = chosen
    return found


def test_exact_graph_gives_the_logits_of_the_plain_implementation(
    tensors: tuple[Path, dict[str, Floats]],
) -> None:
    path, values = tensors

    logits = run(ExactWeights(LlamaFile(path)), IDS)

    np.testing.assert_allclose(logits, plain_logits(values), rtol=1e-3, atol=2e-3)


def test_rounded_graph_with_any_divisors_stays_near_it(
    tensors: tuple[Path, dict[str, Floats]],
) -> None:
    path, values = tensors
    exact = ExactWeights(LlamaFile(path))

    logits = run(RoundedWeights(exact, random_divisors(exact)), IDS)

    # Random divisors cost precision; one that is applied on a single side only costs far more.
    agreement = np.corrcoef(logits.ravel(), plain_logits(values).ravel())[0, 1]
    assert agreement > 0.99


def test_tokens_fed_one_by_one_into_a_shared_cache_give_the_same_logits(
    tensors: tuple[Path, dict[str, Floats]],
) -> None:
    weights = ExactWeights(LlamaFile(tensors[0]))
    whole = run(weights, IDS)
    graph = write_chat_graph(weights, all_logits=False)
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    cache = {name: ort.OrtValue.ortvalue_from_numpy(v) for name, v in empty_cache(16).items()}

    for position in range(IDS.shape[1]):
        binding = session.io_binding()
        binding.bind_cpu_input("input_ids", IDS[:, position : position + 1].copy())
        binding.bind_cpu_input("attention_mask", np.ones((1, position + 1), np.int64))
        binding.bind_output("logits")
        for name, value in cache.items():
            binding.bind_ortvalue_input(name, value)
            binding.bind_ortvalue_output(name.replace("past_key_values", "present"), value)
        session.run_with_iobinding(binding)

        logits = binding.get_outputs()[0].numpy()
        assert logits.shape == (1, 1, VOCABULARY)
        np.testing.assert_allclose(logits[0, 0], whole[position], rtol=1e-3, atol=1e-3)
