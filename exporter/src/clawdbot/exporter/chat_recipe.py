"""Make a chat model's folder from a GGUF file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from clawdbot.exporter.chat_graph import write_chat_graph
from clawdbot.exporter.chat_tokenizer import chat_tokenizer
from clawdbot.exporter.chat_weights import ChatWeights, ExactWeights, RoundedWeights
from clawdbot.exporter.gguf_llama import LlamaConfig, LlamaFile
from clawdbot.exporter.smoothing import Feed, activation_peaks, calibration_texts, divisors

Floats = NDArray[np.float32]

STOP_PIECES = ("<|im_end|>", "<|endoftext|>")

TURNS = 10
"""Lines of a calibration conversation: each run unpacks all weights, so few long ones are fast."""


def make_chat(source: Path, variant: str, folder: Path) -> Mapping[str, Any]:
    """Write a chat model's graph, tokenizer and template; return facts for model.yaml.

    Variant `q4f` keeps the source's values and gives logits for every position: it is the
    reference that tests compare with. `q8` gives the last position's only.
    """
    model = LlamaFile(source)
    tokenizer = chat_tokenizer(model)
    tokenizer.save(str(folder / "tokenizer.json"))
    template: str = model.field("tokenizer.chat_template")
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    exact = ExactWeights(model)
    weights: ChatWeights = exact if variant == "q4f" else _rounded(exact, tokenizer)
    graph = write_chat_graph(weights, all_logits=variant == "q4f")
    (folder / "model.onnx").write_bytes(graph)
    config = model.config
    cache = {"layers": config.layers, "kv_heads": config.kv_heads, "head_dim": config.head_dim}
    return {
        "stop_token_ids": [tokenizer.token_to_id(piece) for piece in STOP_PIECES],
        "vocabulary": config.vocabulary,
        "max_context_length": config.context,
        "kv_cache": cache,
    }


def _rounded(exact: ExactWeights, tokenizer: Tokenizer) -> RoundedWeights:
    probe = write_chat_graph(exact, all_logits=False, probe=True)
    peaks = activation_peaks(probe, _feeds(exact.config, tokenizer))
    for name in peaks:
        if name.endswith("attention.out"):
            peaks[name] = shared_by_group(peaks[name], exact.config)
    return RoundedWeights(exact, divisors(peaks, lambda name: _weight_peaks(exact, name)))


def _weight_peaks(exact: ExactWeights, name: str) -> Floats:
    peaks: Floats = np.abs(exact.blocks(name).dequantised()).max(axis=0)
    return shared_by_group(peaks, exact.config) if name.endswith("attention.out") else peaks


def shared_by_group(peaks: Floats, config: LlamaConfig) -> Floats:
    """Return `peaks` [width] with the greatest of those query heads that share a value head."""
    heads = peaks.reshape(config.kv_heads, -1, config.head_dim)
    return np.broadcast_to(heads.max(axis=1, keepdims=True), heads.shape).reshape(-1)


def _feeds(config: LlamaConfig, tokenizer: Tokenizer) -> Iterator[Feed]:
    empty = np.zeros((1, config.kv_heads, 0, config.head_dim), np.float32)
    past = {
        f"past_key_values.{layer}.{part}": empty
        for layer in range(config.layers)
        for part in ("key", "value")
    }
    for text in conversations(calibration_texts()):
        ids = np.array([tokenizer.encode(text, add_special_tokens=False).ids], np.int64)
        yield {"input_ids": ids, "attention_mask": np.ones_like(ids), **past}


def conversations(lines: list[str]) -> Iterator[str]:
    """Yield `lines` as conversations in the model's own format, TURNS lines in each."""
    for start in range(0, len(lines), TURNS):
        turns = zip(cycle(("user", "assistant")), lines[start : start + TURNS], strict=False)
        yield "".join(f"<|im_start|>{role}\n{line}<|im_end|>\n" for role, line in turns)
