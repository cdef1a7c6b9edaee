from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from prometheus_client import REGISTRY

from clawdbot.inference.adapters.loading import Limits, Loaded, Source, load_chat, load_embedder
from clawdbot.inference.adapters.observed import ObservedChat, ObservedEmbed
from clawdbot.inference.adapters.onnx_chat import ONNXChatModel
from clawdbot.inference.adapters.registry import Running
from clawdbot.inference.adapters.worker_thread import WorkerThread
from clawdbot.inference.domain.sampling import Sampling
from clawdbot.inference.handlers.chat import Chat
from clawdbot.inference.handlers.embed import Embed
from clawdbot.inference.ports.fakes import Fixed, RecordingChatModel, RecordingEmbeddingModel
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import DeadlineExceeded, NotFound, TooLarge, Unavailable
from clawdbot.schema.inference import ChatDone, ChatRequest, ChatTurn, EmbedRequest, Role
from clawdbot.schema.rpc import Call

from .conftest import DIM, WriteFolder

Model = TypeVar("Model", bound=Running)

LIMITS = Limits(threads=1, max_queue=8, slots=2, context_length=512)
ONE_SLOT = Limits(threads=1, max_queue=8, slots=1, context_length=512)
ENDLESS = {"stop_token_ids": [9999], "context_length": 512}
CALL = Call(Deadline.after(3600))


@asynccontextmanager
async def started(loaded: Loaded[Model]) -> AsyncIterator[Model]:
    loaded.model.start()
    try:
        yield loaded.model
    finally:
        await asyncio.to_thread(loaded.model.close)


def toy_chat(tmp_path: Path, limits: Limits = LIMITS) -> Loaded[ONNXChatModel]:
    return load_chat(Source("toy-chat", tmp_path), limits)


async def collected(
    model: ONNXChatModel, prompt: list[int], limit: int, deadline_s: float = 30
) -> list[int]:
    deadline = Deadline.after(deadline_s)
    return [
        token async for token in model.generate(prompt, Sampling(), limit=limit, deadline=deadline)
    ]


async def test_answers_together_are_those_alone(chat_folder: WriteFolder, tmp_path: Path) -> None:
    chat_folder(**ENDLESS)
    async with started(toy_chat(tmp_path)) as model:
        turns = [[ChatTurn(role="user", content=content)] for content in ("a", "bc" * 9, "d", "e")]
        prompts = await model.prompts(turns)
        alone = [await collected(model, prompt, 20) for prompt in prompts]

        together = await asyncio.gather(*(collected(model, prompt, 20) for prompt in prompts))

    assert together == alone
    assert [len(tokens) for tokens in alone] == [20] * 4


class InterruptedTokenizer:
    """Has whoever waits for it cancelled while it encodes."""

    def __init__(self) -> None:
        self.encoded: list[str] = []
        self.loop = asyncio.get_running_loop()
        self.waiting: asyncio.Task[list[list[int]]] | None = None

    def encode(self, turns: Sequence[ChatTurn]) -> list[int]:
        self.encoded.append(turns[0].content)
        assert self.waiting is not None
        self.loop.call_soon_threadsafe(self.waiting.cancel)
        return [1]


async def test_prompts_are_encoded_one_by_one_so_that_others_get_their_turn(
    chat_folder: WriteFolder, tmp_path: Path
) -> None:
    chat_folder(**ENDLESS)
    async with started(toy_chat(tmp_path)) as model:
        model._tokenizer = tokenizer = InterruptedTokenizer()
        turns = [[ChatTurn(role="user", content=content)] for content in ("first", "second")]
        tokenizer.waiting = asyncio.ensure_future(model.prompts(turns))

        with pytest.raises(asyncio.CancelledError):
            await tokenizer.waiting

    assert tokenizer.encoded == ["first"]


async def test_left_answer_makes_room_for_the_next(
    chat_folder: WriteFolder, tmp_path: Path
) -> None:
    chat_folder(**ENDLESS)
    async with started(toy_chat(tmp_path, ONE_SLOT)) as model:
        forever = model.generate([5], Sampling(), limit=500, deadline=Deadline.after(30))

        async with aclosing(forever):
            await anext(forever)
            waiting = asyncio.create_task(collected(model, [6], 2))

        assert len(await waiting) == 2


async def test_expired_request_is_told_so(chat_folder: WriteFolder, tmp_path: Path) -> None:
    chat_folder(**ENDLESS)
    async with started(toy_chat(tmp_path)) as model:
        with pytest.raises(DeadlineExceeded):
            await collected(model, [5], 2, deadline_s=-1)


async def test_closing_fails_what_is_left(chat_folder: WriteFolder, tmp_path: Path) -> None:
    chat_folder(**ENDLESS)
    async with started(toy_chat(tmp_path, ONE_SLOT)) as model:
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


async def test_broken_thread_is_seen_by_whoever_watches() -> None:
    def step() -> bool:
        raise ZeroDivisionError

    thread = WorkerThread("toy", step)
    thread.start()
    thread.wake()

    with pytest.raises(ZeroDivisionError):
        await thread.watch()
    thread.close()


async def test_long_text_is_the_length_weighted_mean_of_its_windows(
    embedding_folder: WriteFolder, tmp_path: Path
) -> None:
    embedding_folder(roles={})
    text = "abcdefghijklmn" + "xyz"
    async with started(load_embedder(Source("toy-embedding", tmp_path), LIMITS)) as model:
        texts = [text, text[:14], text[14:]]
        made = await model.embed(texts, Role.PASSAGE, Deadline.after(30))

    whole, first, second = made.vectors
    expected = (16 * first + 5 * second) / np.linalg.norm(16 * first + 5 * second)
    np.testing.assert_allclose(whole, expected, atol=1e-5)
    assert made.vectors.shape == (3, DIM)
    assert made.vectors.flags.c_contiguous
    assert made.token_count == 21 + 16 + 5
    assert model.label == "toy-embedding/1/f32"


async def test_endless_texts_are_refused(embedding_folder: WriteFolder, tmp_path: Path) -> None:
    embedding_folder()
    async with started(load_embedder(Source("toy-embedding", tmp_path), LIMITS)) as model:
        with pytest.raises(TooLarge, match="tokens"):
            await model.embed(["x" * 200_000], Role.PASSAGE, Deadline.after(30))


def counted(verb: str, outcome: str, model: str) -> float:
    labels = {"verb": verb, "outcome": outcome, "model": model}
    return REGISTRY.get_sample_value("clawdbot_inference_requests_total", labels) or 0.0


REQUEST = ChatRequest(messages=(ChatTurn(role="user", content="hi"),))


async def test_answered_chat_counts_as_ok_though_the_caller_leaves_at_its_end() -> None:
    observed = ObservedChat("counted-ok", Chat(Fixed(RecordingChatModel())))

    async with aclosing(observed.chat(REQUEST, CALL)) as answer:
        async for item in answer:
            if isinstance(item, ChatDone):
                break

    assert counted("chat", "ok", "counted-ok") == 1


async def test_left_chat_counts_as_cancelled() -> None:
    observed = ObservedChat("counted-left", Chat(Fixed(RecordingChatModel())))

    async with aclosing(observed.chat(REQUEST, CALL)) as answer:
        await anext(answer)

    assert counted("chat", "cancelled", "counted-left") == 1


async def test_refused_embedding_counts_by_its_code() -> None:
    place: Fixed[RecordingEmbeddingModel] = Fixed(NotFound("no model"))
    observed = ObservedEmbed("counted-refused", Embed(place))

    with pytest.raises(NotFound):
        await observed.embed(EmbedRequest(texts=("a",), role=Role.QUERY), CALL)

    assert counted("embed", "not_found", "counted-refused") == 1
