from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

import numpy as np
import pytest

from clawdbot.inference.handlers.chat import Chat
from clawdbot.inference.handlers.embed import Embed
from clawdbot.inference.ports.fakes import Fixed, RecordingChatModel, RecordingEmbeddingModel
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import InvalidMessage, NotFound, TooLarge
from clawdbot.schema.inference import (
    ChatDelta,
    ChatDone,
    ChatRequest,
    ChatTurn,
    CountRequest,
    EmbedRequest,
    FinishReason,
    Role,
)
from clawdbot.schema.rpc import Call

CALL = Call(Deadline.after(3600))


def request(content: str = "hi", **options: object) -> ChatRequest:
    turns = (ChatTurn(role="user", content=content),)
    return ChatRequest.model_validate({"messages": turns, **options})


async def answered(model: RecordingChatModel, asked: ChatRequest) -> tuple[list[str], ChatDone]:
    items = [item async for item in Chat(Fixed(model)).chat(asked, CALL)]
    deltas = [item.text for item in items[:-1] if isinstance(item, ChatDelta)]
    assert isinstance(items[-1], ChatDone)
    return deltas, items[-1]


async def test_deltas_join_to_the_text_in_whole_characters() -> None:
    deltas, done = await answered(RecordingChatModel("你好 café".encode()), request())

    assert "".join(deltas) == done.text == "你好 café"
    assert deltas[:2] == ["你", "好"]
    assert done.finish_reason is FinishReason.STOP
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (2, 12)
    assert done.model == "fake/1"


async def test_answer_that_fills_max_tokens_was_cut() -> None:
    _, done = await answered(RecordingChatModel(b"hello"), request(max_tokens=3))

    assert (done.text, done.finish_reason) == ("hel", FinishReason.LENGTH)


async def test_answer_ends_where_the_context_does() -> None:
    model = RecordingChatModel(b"x" * 50, context_length=10)

    _, done = await answered(model, request("1234567"))

    assert (done.text, done.finish_reason) == ("xxx", FinishReason.LENGTH)


async def test_stop_string_is_not_shown_and_ends_generation() -> None:
    model = RecordingChatModel(b"one two END three")

    deltas, done = await answered(model, request(stop=("END",)))

    assert "".join(deltas) == done.text == "one two "
    assert done.finish_reason is FinishReason.STOP
    assert model.closed_count == 1


async def test_prompt_longer_than_the_context_names_both_numbers() -> None:
    with pytest.raises(InvalidMessage, match=r"12 tokens.*may have 12 together") as refused:
        await answered(RecordingChatModel(context_length=12), request("x" * 12))

    assert refused.value.field == "messages"


class UnencodedChatModel(RecordingChatModel):
    """Fails when it is asked to encode anything."""

    async def prompts(self, conversations: Sequence[Sequence[ChatTurn]]) -> list[list[int]]:
        raise AssertionError("was encoded")


async def test_endless_prompt_is_refused_before_it_is_encoded() -> None:
    with pytest.raises(TooLarge, match=r"1025 characters and may have 1024") as refused:
        await answered(UnencodedChatModel(context_length=64), request("x" * 1025))

    assert refused.value.field == "messages"


async def test_endless_count_is_refused_before_anything_is_encoded() -> None:
    half = request("x" * 256 * 1024).messages
    asked = CountRequest(prompts=(half, half, request("x").messages))

    with pytest.raises(TooLarge, match="524289 characters and may have 524288"):
        await Chat(Fixed(UnencodedChatModel())).count(asked, CALL)


async def test_long_stop_string_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="256 characters"):
        await answered(UnencodedChatModel(), request(stop=("x" * 257,)))


async def test_the_schema_reaches_the_sampling() -> None:
    model = RecordingChatModel()

    await answered(model, request(json_schema="{}", is_json_optional=True))

    [sampling] = model.samplings
    assert (sampling.json_schema, sampling.is_json_optional) == ("{}", True)


async def test_json_that_a_stop_string_could_cut_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="could cut") as refused:
        await answered(RecordingChatModel(), request(json_schema="{}", stop=("}",)))

    assert refused.value.field == "stop"


async def test_leaving_the_answer_closes_generation() -> None:
    model = RecordingChatModel(b"hello")

    async with aclosing(Chat(Fixed(model)).chat(request(), CALL)) as answer:
        await anext(answer)

    assert model.closed_count == 1


async def test_missing_model_says_what_to_do() -> None:
    refusal: Fixed[RecordingChatModel] = Fixed(NotFound("no such file", fix="run `make models`"))

    with pytest.raises(NotFound) as refused:
        await anext(Chat(refusal).chat(request(), CALL))

    assert refused.value.fix == "run `make models`"


async def test_count_gives_each_prompts_tokens() -> None:
    asked = CountRequest(prompts=(request("four").messages, request("fifteen").messages))

    reply = await Chat(Fixed(RecordingChatModel())).count(asked, CALL)

    assert (reply.tokens, reply.context_length) == ((4, 7), 64)


async def test_vectors_travel_as_raw_little_endian_floats() -> None:
    model = RecordingEmbeddingModel()

    asked = EmbedRequest(texts=("a", "bc"), role=Role.QUERY)
    reply = await Embed(Fixed(model)).embed(asked, CALL)

    vectors = np.frombuffer(reply.vectors.data, "<f4").reshape(reply.vectors.shape)
    assert vectors.tolist() == [[1, 0], [1, 0]]
    assert (reply.vectors.dtype, reply.model) == ("float32", "fake/1/f32")
    assert (reply.usage.prompt_tokens, model.roles) == (3, [Role.QUERY])
