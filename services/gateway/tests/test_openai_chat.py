"""`/v1/chat/completions`, asked by the official client over the recording fakes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
import httpx2
import openai
import pytest
import pytest_asyncio
from openai import AsyncOpenAI

from clawdbot.gateway.domain.rates import Kind, RateLimited
from clawdbot.schema.errors import InvalidMessage, NotFound, Overloaded, Unavailable
from clawdbot.schema.inference import ChatDelta, ChatDone, FinishReason, ModelState
from clawdbot.schema.messages import Usage

HI = [{"role": "user", "content": "hi"}]
DONE = ChatDone(
    text="hello there",
    model="toy/1",
    finish_reason=FinishReason.STOP,
    usage=Usage(prompt_tokens=3, completion_tokens=2),
)
ANSWER = [ChatDelta(text="hello "), ChatDelta(text="there"), DONE]


@pytest_asyncio.fixture
async def ai(door, token) -> AsyncIterator[AsyncOpenAI]:
    transport = httpx2.ASGITransport(door.app(), raise_app_exceptions=False)
    http = httpx2.AsyncClient(transport=transport)
    async with AsyncOpenAI(
        base_url="http://gateway/v1", api_key=token(), http_client=http, max_retries=0
    ) as client:
        yield client


@pytest.fixture
def post(client: httpx.AsyncClient, bearer):
    async def send(headers: dict[str, str] | None = None, **fields: object) -> httpx.Response:
        body = {"model": "toy", "messages": HI, **fields}
        sent = {**bearer(), **(headers or {})}
        return await client.post("/v1/chat/completions", json=body, headers=sent)

    return send


def data_of(answer: httpx.Response) -> list[object]:
    lines = [line for line in answer.text.splitlines() if line.startswith("data: ")]
    return [line[6:] if line == "data: [DONE]" else json.loads(line[6:]) for line in lines]


async def test_a_bare_model_answers_whole(door, ai: AsyncOpenAI) -> None:
    door.inference.script = ANSWER

    answer = await ai.chat.completions.create(model="toy", messages=HI)

    [choice] = answer.choices
    assert (choice.message.content, choice.finish_reason) == ("hello there", "stop")
    assert answer.usage.model_dump(exclude_none=True) == {
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "total_tokens": 5,
    }
    assert answer.system_fingerprint == "toy/1"
    assert door.inference.open_chats == 0


async def test_a_bare_model_streams_with_usage_last(door, ai: AsyncOpenAI) -> None:
    door.inference.script = ANSWER

    stream = await ai.chat.completions.create(
        model="toy", messages=HI, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    assert [c.choices[0].delta.content for c in chunks[:-1]] == ["", "hello ", "there", None]
    assert [c.choices[0].finish_reason for c in chunks[:-1]] == [None, None, None, "stop"]
    assert chunks[-1].usage.total_tokens == 5
    assert len({chunk.id for chunk in chunks}) == 1
    assert door.inference.open_chats == 0


async def test_a_stream_ends_with_done(door, post) -> None:
    door.inference.script = ANSWER

    answer = await post(stream=True)

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert data_of(answer)[-1] == "[DONE]"
    assert "usage" not in data_of(answer)[0]


async def test_what_is_asked_reaches_the_model(door, ai: AsyncOpenAI) -> None:
    door.inference.script = ANSWER
    history = [
        {"role": "developer", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "c"},
        {"role": "user", "content": "d"},
    ]

    await ai.chat.completions.create(
        model="toy",
        messages=history,
        max_completion_tokens=7,
        temperature=0.5,
        top_p=0,
        seed=-3,
        stop=["x", "y"],
        user="somebody",
        n=1,
        logprobs=False,
        extra_body={"unheard_of": True},
    )

    [asked] = door.inference.asked
    turns = [(turn.role, turn.content) for turn in asked.messages]
    assert turns == [("system", "Be short."), ("user", "ab"), ("assistant", "c"), ("user", "d")]
    assert (asked.max_tokens, asked.temperature, asked.seed) == (7, 0.5, -3)
    assert 0 < asked.top_p < 0.001
    assert asked.stop == ("x", "y")


async def test_null_is_the_same_as_nothing(door, post) -> None:
    door.inference.script = ANSWER
    names = ("stop", "n", "seed", "user", "max_tokens", "temperature", "tools", "stream", "top_p")

    answer = await post(**dict.fromkeys(names))

    assert answer.status_code == 200
    assert door.inference.asked[0].temperature == 1.0


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"5": 100}}, "logit_bias"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"seed": 2**63}, "seed"),
        ({"stop": ["x"] * 9}, "stop"),
        ({"stop": [5]}, "stop"),
        ({"stop": "x" * 257}, "stop"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"content": "hi"}]}, "messages.0.role"),
        ({"messages": [{"role": "owner", "content": "hi"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages.0.content.0",
        ),
        ({"model": 5}, "model"),
    ],
)
async def test_what_cannot_be_done_is_refused_by_name(
    door, post, fields: dict[str, object], param: str
) -> None:
    answer = await post(**fields)

    error = answer.json()["error"]
    assert answer.status_code == 400
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert set(error) == {"message", "type", "param", "code"}
    assert door.inference.asked == []


@pytest.mark.parametrize(
    ("failure", "status", "kind", "code"),
    [
        (
            InvalidMessage("too long", field="messages"),
            400,
            "invalid_request_error",
            "invalid_value",
        ),
        (NotFound("no such file"), 404, "invalid_request_error", "not_found"),
        (Overloaded("busy", retry_after_s=2), 429, "rate_limit_error", "rate_limit_exceeded"),
        (RateLimited(Kind.SENDER, 2), 429, "rate_limit_error", "rate_limit_exceeded"),
        (Unavailable("away"), 503, "server_error", "unavailable"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_before_the_first_piece_is_a_status(
    door, post, failure, status: int, kind: str, code: str, stream: bool
) -> None:
    door.inference.script = [failure]

    answer = await post(stream=stream)

    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (status, kind, code)
    assert ("retry-after" in answer.headers) == (status in {429, 503})
    assert "x-should-retry" not in answer.headers


async def test_a_failure_within_a_stream_is_its_last_event(door, ai: AsyncOpenAI) -> None:
    door.inference.script = [ChatDelta(text="hel"), Unavailable("the model broke down")]
    stream = await ai.chat.completions.create(model="toy", messages=HI, stream=True)
    heard = []

    with pytest.raises(openai.APIError, match="broke down") as failed:
        async for chunk in stream:
            heard.append(chunk.choices[0].delta.content)

    assert heard == ["", "hel"]
    assert failed.value.code == "unavailable"


async def test_a_model_that_takes_too_long_is_504(door, post) -> None:
    door.inference.script = [ChatDelta(text="hel")]

    answer = await post()

    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert door.inference.open_chats == 0


@pytest.mark.parametrize("name", ["gpt-4o", "toy-embedding", "a.b", "*", ">"])
async def test_an_unknown_model_is_not_found(door, ai: AsyncOpenAI, name: str) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        await ai.chat.completions.create(model=name, messages=HI)

    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    assert door.inference.asked == []


async def test_a_model_that_is_loading_is_503(door, post) -> None:
    door.inference.states["toy"] = ModelState.LOADING

    answer = await post()

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["error"]["message"] == "model 'toy' is loading"


async def test_a_token_without_the_scope_is_403(client, bearer) -> None:
    body = {"model": "toy", "messages": HI}

    strange = await client.post("/v1/chat/completions", json=body)
    mute = await client.post("/v1/chat/completions", json=body, headers=bearer(scopes=["approve"]))

    assert (strange.status_code, strange.json()["error"]["code"]) == (401, "invalid_api_key")
    assert strange.headers["www-authenticate"].startswith("Bearer")
    assert (mute.status_code, mute.json()["error"]["code"]) == (403, "insufficient_permissions")


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 400), (b"[]", 400), (b'{"x":"' + b"x" * 5000 + b'"}', 413)]
)
async def test_a_body_that_cannot_be_read_is_refused_in_the_same_form(
    client, bearer, body: bytes, status: int
) -> None:
    answer = await client.post("/v1/chat/completions", content=body, headers=bearer())

    assert answer.status_code == status
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/chat/completions"), ("POST", "/v1/responses"), ("DELETE", "/v1/models/toy")],
)
async def test_what_is_not_served_is_404_in_the_same_form(client, method: str, path: str) -> None:
    answer = await client.request(method, path)

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"
    assert "responses" not in answer.text


async def test_one_request_too_many_is_429(door, ai: AsyncOpenAI) -> None:
    with pytest.raises(openai.RateLimitError):
        with door.gate.enter(), door.gate.enter(), door.gate.enter(), door.gate.enter():
            await ai.chat.completions.create(model="toy", messages=HI)
