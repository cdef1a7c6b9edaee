from __future__ import annotations

import asyncio
import hashlib
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

from clawdbot.inference.adapters.loading import Limits, Loaded, Source, load_chat, load_embedder
from clawdbot.inference.adapters.onnx_chat import ONNXChatModel
from clawdbot.inference.adapters.registry import ModelPlace, Registry
from clawdbot.inference.domain.sampling import Sampling
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import NotFound, TooLarge, Unavailable
from clawdbot.schema.inference import ChatTurn, ModelState, Role

from .conftest import DIM, WriteFolder

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
    loaded.model.close()


async def test_model_elsewhere_is_loaded_by_its_path(
    chat_folder: WriteFolder, tmp_path: Path
) -> None:
    folder = chat_folder()
    graph = (folder / "model.onnx").rename(folder / "mine.onnx")

    loaded = load_chat(Source("mine", tmp_path / "nowhere", graph), LIMITS)

    assert (loaded.model.label, loaded.provider) == ("mine/1", "CPUExecutionProvider")
    loaded.model.close()


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
    loaded.model.close()


async def test_failed_model_leaves_the_other_serving(
    embedding_folder: WriteFolder, tmp_path: Path
) -> None:
    embedding_folder()
    other: ModelPlace[object] = ModelPlace("toy-embedding", "embedding", FIX)  # type: ignore[type-var]  # only its state is looked at
    async with place() as broken, other:
        registry = Registry([broken, other])
        await broken.load(lambda: load_chat(source(tmp_path), LIMITS))
        await other.load(lambda: load_embedder(source(tmp_path, "toy-embedding"), LIMITS))  # type: ignore[arg-type,return-value]

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


async def collected(model: ONNXChatModel, prompt: list[int], limit: int) -> list[int]:
    deadline = Deadline.after(30)
    return [
        token async for token in model.generate(prompt, Sampling(), limit=limit, deadline=deadline)
    ]


async def test_answers_together_are_those_alone(chat_folder: WriteFolder, tmp_path: Path) -> None:
    chat_folder(stop_token_ids=[9999])
    model = load_chat(source(tmp_path), LIMITS).model
    turns = [[ChatTurn(role="user", content=content)] for content in ("a", "bc" * 9, "d", "ef")]
    prompts = await model.prompts(turns)
    alone = [await collected(model, prompt, 20) for prompt in prompts]

    together = await asyncio.gather(*(collected(model, prompt, 20) for prompt in prompts))

    assert together == alone
    assert [len(tokens) for tokens in alone] == [20] * 4
    await asyncio.to_thread(model.close)


async def test_left_answer_makes_room_for_the_next(
    chat_folder: WriteFolder, tmp_path: Path
) -> None:
    chat_folder(stop_token_ids=[9999], max_context_length=512, context_length=512)
    limits = Limits(threads=1, max_queue=8, slots=1, context_length=512)
    model = load_chat(source(tmp_path), limits).model
    forever = model.generate([5], Sampling(), limit=500, deadline=Deadline.after(30))

    async with aclosing(forever):
        await anext(forever)
        waiting = asyncio.create_task(collected(model, [6], 2))

    assert len(await waiting) == 2
    await asyncio.to_thread(model.close)


async def test_closing_fails_what_is_left(chat_folder: WriteFolder, tmp_path: Path) -> None:
    chat_folder(stop_token_ids=[9999], max_context_length=512, context_length=512)
    limits = Limits(threads=1, max_queue=8, slots=1, context_length=512)
    model = load_chat(source(tmp_path), limits).model
    running = model.generate([5], Sampling(), limit=500, deadline=Deadline.after(30))
    async with aclosing(running):
        await anext(running)
        waiting = asyncio.create_task(collected(model, [6], 2))

        await asyncio.to_thread(model.close)

        with pytest.raises(Unavailable, match="stopping"):
            await waiting
        with pytest.raises(Unavailable, match="stopping"):
            await collected(model, [7], 2)
    await model.watch()


async def test_long_text_is_the_length_weighted_mean_of_its_windows(
    embedding_folder: WriteFolder, tmp_path: Path
) -> None:
    embedding_folder(roles={})
    model = load_embedder(source(tmp_path, "toy-embedding"), LIMITS).model
    text, deadline = "abcdefghijklmn" + "xyz", Deadline.after(30)

    made = await model.embed([text, text[:14], text[14:]], Role.PASSAGE, deadline)

    whole, first, second = made.vectors
    expected = (16 * first + 5 * second) / np.linalg.norm(16 * first + 5 * second)
    np.testing.assert_allclose(whole, expected, atol=1e-5)
    assert made.vectors.shape == (3, DIM)
    assert made.vectors.flags.c_contiguous
    assert made.token_count == 21 + 16 + 5
    assert model.label == "toy-embedding/1/f32"
    await asyncio.to_thread(model.close)


async def test_endless_texts_are_refused(embedding_folder: WriteFolder, tmp_path: Path) -> None:
    embedding_folder()
    model = load_embedder(source(tmp_path, "toy-embedding"), LIMITS).model

    with pytest.raises(TooLarge, match="tokens"):
        await model.embed(["x" * 200_000], Role.PASSAGE, Deadline.after(30))
    await asyncio.to_thread(model.close)
