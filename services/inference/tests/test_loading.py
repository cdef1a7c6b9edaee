from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from clawdbot.inference.adapters.loading import Limits, Loaded, Source, load_chat, load_embedder
from clawdbot.inference.adapters.onnx_chat import ONNXChatModel
from clawdbot.inference.adapters.onnx_embedder import ONNXEmbeddingModel
from clawdbot.inference.adapters.registry import ModelPlace, Registry
from clawdbot.schema.errors import NotFound, Unavailable
from clawdbot.schema.inference import ModelState

from .conftest import WriteFolder

LIMITS = Limits(threads=1, max_queue=8, slots=2, context_length=100)
FIX = "run `make models`"


def source(tmp_path: Path, name: str = "toy-chat") -> Source:
    return Source(name, tmp_path)


def place(name: str = "toy-chat") -> ModelPlace[ONNXChatModel]:
    return ModelPlace(name, "chat", FIX)


async def test_highest_version_is_served(chat_folder: WriteFolder, tmp_path: Path) -> None:
    folder = chat_folder(version=1)
    folder.rename(tmp_path / "toy-chat" / "10")
    chat_folder(version=9).rename(tmp_path / "toy-chat" / "9")
    (tmp_path / "toy-chat" / "latest").mkdir()
    card = tmp_path / "toy-chat" / "10" / "model.yaml"
    card.write_text(card.read_text().replace("version: 1", "version: 10"))

    loaded = load_chat(source(tmp_path), LIMITS)

    assert loaded.model.label == "toy-chat/10"


async def test_model_elsewhere_is_loaded_by_its_path(
    chat_folder: WriteFolder, tmp_path: Path
) -> None:
    folder = chat_folder()
    graph = (folder / "model.onnx").rename(folder / "mine.onnx")

    loaded = load_chat(Source("mine", tmp_path / "nowhere", graph), LIMITS)

    assert (loaded.model.label, loaded.provider) == ("mine/1", "CPUExecutionProvider")


@pytest.mark.parametrize(
    "missing", ["model.yaml", "model.onnx", "tokenizer.json", "chat_template.jinja"]
)
def test_missing_file_is_named(chat_folder: WriteFolder, tmp_path: Path, missing: str) -> None:
    (path := chat_folder() / missing).unlink()

    with pytest.raises(NotFound, match=str(path)):
        load_chat(source(tmp_path), LIMITS)


def test_damaged_file_is_named(chat_folder: WriteFolder, tmp_path: Path) -> None:
    path = chat_folder(files={"tokenizer.json": hashlib.sha256(b"other").hexdigest()})

    with pytest.raises(NotFound, match=f"{path / 'tokenizer.json'} is damaged"):
        load_chat(source(tmp_path), LIMITS)


def test_absent_model_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=f"{tmp_path}/toy-chat holds no model"):
        load_chat(source(tmp_path), LIMITS)


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ({"kind": "tea"}, "kind: Input should be 'chat'"),
        ({"kind": "embedding"}, "kind: Input should be 'chat'"),
        ({"stop_token_ids": []}, "stop_token_ids"),
        ({"context_length": "long"}, "context_length"),
    ],
)
def test_wrong_key_of_the_card_is_named(
    chat_folder: WriteFolder, tmp_path: Path, overrides: dict[str, object], reason: str
) -> None:
    folder = chat_folder(**overrides)

    with pytest.raises(NotFound, match=f"{folder / 'model.yaml'} is not usable: {reason}"):
        load_chat(source(tmp_path), LIMITS)


async def test_context_is_what_is_configured_up_to_the_models_own(
    chat_folder: WriteFolder, tmp_path: Path
) -> None:
    chat_folder(max_context_length=90)

    loaded = load_chat(source(tmp_path), LIMITS)

    assert loaded.model.context_length == 90


async def test_failed_model_leaves_the_other_serving(
    embedding_folder: WriteFolder, tmp_path: Path
) -> None:
    embedding_folder()
    other = ModelPlace[ONNXEmbeddingModel]("toy-embedding", "embedding", FIX)
    async with place() as broken, other:
        registry = Registry([broken, other])
        await broken.load(lambda: load_chat(source(tmp_path), LIMITS))
        await other.load(lambda: load_embedder(source(tmp_path, "toy-embedding"), LIMITS))

        chat, embedding = registry.statuses()

        assert (chat.state, embedding.state) == (ModelState.FAILED, ModelState.READY)
        assert str(tmp_path) in chat.detail
        assert FIX in chat.detail
        assert registry.problem() == chat.detail
        with pytest.raises(NotFound, match=str(tmp_path)) as refused:
            broken.get()
        assert refused.value.fix == FIX


async def test_bug_while_loading_is_a_failure_of_that_model_alone() -> None:
    def load() -> Loaded[ONNXChatModel]:
        raise ZeroDivisionError("oops")

    async with place() as broken:
        await broken.load(load)

        assert "ZeroDivisionError: oops" in broken.status().detail


def test_loading_model_is_unavailable_and_not_ready() -> None:
    loading = place()

    assert loading.status().state is ModelState.LOADING
    assert Registry([loading]).problem() == "model 'toy-chat' is loading"
    with pytest.raises(Unavailable):
        loading.get()
