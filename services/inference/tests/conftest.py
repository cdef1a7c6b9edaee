"""Toy models in the layout of the real ones, and where the real ones are."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing

START, END = "<|start|>", "<|end|>"
TEMPLATE = (
    "{% for m in messages %}{{ '<|start|>' + m['role'] + '\n' + m['content'] + '<|end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant\n' }}{% endif %}"
)
HEADS, DIM = 2, 16
FLOAT, INT64, INT32 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32

WriteFolder = Callable[..., Path]


def byte_tokenizer() -> Tokenizer:
    """One token per byte, after the two control tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: index for index, piece in enumerate([START, END, *alphabet])}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(piece, special=True) for piece in (START, END)])
    return tokenizer


def framing_tokenizer() -> Tokenizer:
    """As `byte_tokenizer`, with a control token before and after each text."""
    tokenizer = byte_tokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, 0), (END, 1)]
    )
    return tokenizer


def decoder_graph(vocabulary: int) -> onnx.ModelProto:
    """One attention layer with random weights, by the contract of `causal_graph`."""
    random = np.random.default_rng(7)
    width = HEADS * DIM

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(random.normal(size=shape).astype(np.float32), name)

    angles = np.arange(512)[:, None] / 10.0 ** np.linspace(0, 2, DIM // 2)[None]
    constants = [
        weights("table", vocabulary, width),
        weights("qkv", width, 3 * width),
        weights("head", width, vocabulary),
        numpy_helper.from_array(np.cos(angles).astype(np.float32), "cos"),
        numpy_helper.from_array(np.sin(angles).astype(np.float32), "sin"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
        numpy_helper.from_array(np.array(1, np.int64), "one"),
        numpy_helper.from_array(np.array([-1], np.int64), "last"),
    ]
    cache = ["past_key_values.0.key", "past_key_values.0.value"]
    present = ["present.0.key", "present.0.value"]
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "input_ids"], ["embedded"], axis=0),
        node("MatMul", ["embedded", "qkv"], ["packed"]),
        node("ReduceSum", ["attention_mask", "axis"], ["held"], keepdims=0),
        node("Sub", ["held", "one"], ["position"]),
        node("Cast", ["position"], ["seqlens"], to=INT32),
        node("Shape", ["attention_mask"], ["shape"]),
        node("Gather", ["shape", "one"], ["width"], axis=0),
        node("Cast", ["width"], ["total"], to=INT32),
        node(
            "GroupQueryAttention",
            ["packed", "", "", *cache, "seqlens", "total", "cos", "sin"],
            ["attended", *present],
            domain="com.microsoft",
            num_heads=HEADS,
            kv_num_heads=HEADS,
            do_rotary=1,
        ),
        node("Add", ["attended", "embedded"], ["mixed"]),
        node("Gather", ["mixed", "last"], ["final"], axis=1),
        node("MatMul", ["final", "head"], ["logits"]),
    ]
    value = helper.make_tensor_value_info
    slot: list[str | int | None] = ["batch", HEADS, "capacity", DIM]
    inputs = [value("input_ids", INT64, ["batch", "n"])]
    inputs += [value("attention_mask", INT64, ["batch", "total"])]
    inputs += [value(name, FLOAT, slot) for name in cache]
    outputs = [value("logits", FLOAT, ["batch", 1, vocabulary])]
    outputs += [value(name, FLOAT, slot) for name in present]
    return _model(helper.make_graph(nodes, "decoder", inputs, outputs, constants))


def encoder_graph(vocabulary: int) -> onnx.ModelProto:
    """Token vectors, not pooled: [batch, n, DIM]."""
    random = np.random.default_rng(7)
    table = random.normal(size=(vocabulary, DIM)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["hidden"], axis=0),
        helper.make_node("Identity", ["attention_mask"], ["unused"]),
    ]
    value = helper.make_tensor_value_info
    inputs = [value(name, INT64, ["batch", "n"]) for name in ("input_ids", "attention_mask")]
    outputs = [value("hidden", FLOAT, ["batch", "n", DIM]), value("unused", INT64, ["batch", "n"])]
    constants = [numpy_helper.from_array(table, "table")]
    return _model(helper.make_graph(nodes, "encoder", inputs, outputs, constants))


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


@pytest.fixture
def chat_folder(tmp_path: Path) -> WriteFolder:
    """Writes `<tmp_path>/toy-chat/1`; keyword arguments override keys of model.yaml."""

    def write(**overrides: Any) -> Path:
        folder = tmp_path / "toy-chat" / "1"
        folder.mkdir(parents=True)
        tokenizer = byte_tokenizer()
        onnx.save(decoder_graph(tokenizer.get_vocab_size()), folder / "model.onnx")
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "chat_template.jinja").write_text(TEMPLATE)
        card = {"name": "toy-chat", "version": 1, "kind": "chat", "variant": "f32"}
        card |= {"context_length": 128, "stop_token_ids": [1]} | overrides
        (folder / "model.yaml").write_text(yaml.safe_dump(card))
        return folder

    return write


@pytest.fixture
def embedding_folder(tmp_path: Path) -> WriteFolder:
    """Writes `<tmp_path>/toy-embedding/1`; keyword arguments override keys of model.yaml."""

    def write(**overrides: Any) -> Path:
        folder = tmp_path / "toy-embedding" / "1"
        folder.mkdir(parents=True)
        tokenizer = framing_tokenizer()
        onnx.save(encoder_graph(tokenizer.get_vocab_size()), folder / "model.onnx")
        tokenizer.save(str(folder / "tokenizer.json"))
        card = {"name": "toy-embedding", "version": 1, "kind": "embedding", "variant": "f32"}
        card |= {"context_length": 16, "dim": DIM, "roles": {"query": "q:", "passage": "p:"}}
        (folder / "model.yaml").write_text(yaml.safe_dump(card | overrides))
        return folder

    return write


@pytest.fixture(scope="session")
def chat_tokenizer_json() -> str:
    return json.dumps(json.loads(byte_tokenizer().to_str()))


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """The real models; skips at home, fails under CI=true when they are not built."""
    directory = Path(os.environ.get("CLAWDBOT_MODELS_DIR", "models")).resolve()
    if not (directory / "smollm2-135m-instruct").is_dir():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{directory} holds no models: run `make models`")
        pytest.skip(f"{directory} holds no models: run `make models`")
    return directory
