"""The official OpenAI client, unchanged, against the real processes."""

from __future__ import annotations

import json
import math
import re
import struct
from base64 import b64decode
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

import openai
import pytest
from openai import OpenAI
from openai.types.chat import (
    ChatCompletionMessageParam,
    ChatCompletionToolChoiceOptionParam,
    ChatCompletionToolParam,
)
from pydantic import BaseModel, ConfigDict, Field

from tests.integration.system import ROOT, System

BARE = "smollm2-135m-instruct"
EMBEDDER = "multilingual-e5-small"
CAPITAL: list[ChatCompletionMessageParam] = [
    {"role": "developer", "content": "You are a helpful assistant."},
    {"role": "user", "content": [{"type": "text", "text": "What is the capital of France?"}]},
]


def client_of(system: System, *, key: str | None = None, user: str = "openai") -> OpenAI:
    # Two retries, as by default: they must not become messages of their own.
    return OpenAI(base_url=f"{system.url}/v1", api_key=key or system.token(user), timeout=60)


@pytest.fixture
def client(system: System) -> Iterator[OpenAI]:
    with client_of(system) as opened:
        yield opened


def said(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


def test_models_are_listed(client: OpenAI) -> None:
    names = [model.id for model in client.models.list()]

    assert names == ["clawdbot", BARE, EMBEDDER]
    assert client.models.retrieve(BARE).owned_by == "clawdbot"


def test_a_bare_model_answers(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=BARE, messages=CAPITAL, temperature=0, max_completion_tokens=24
    )

    [choice] = answer.choices
    assert choice.message.role == "assistant"
    assert "Paris" in (choice.message.content or "")
    assert choice.finish_reason in {"stop", "length"}
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 10
    assert 0 < answer.usage.completion_tokens <= 24
    assert answer._request_id
    assert (answer.system_fingerprint or "").startswith(BARE)


def test_a_bare_model_streams_what_it_answers(client: OpenAI) -> None:
    whole = client.chat.completions.create(
        model=BARE, messages=CAPITAL, temperature=0, max_tokens=24
    )

    stream = client.chat.completions.create(
        model=BARE,
        messages=CAPITAL,
        temperature=0,
        max_tokens=24,
        stream=True,
        stream_options={"include_usage": True},
    )
    *chunks, last = list(stream)

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content
    assert len(chunks) > 4
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert last.choices == []
    assert last.usage == whole.usage


def test_limits_stops_and_seeds_hold(client: OpenAI) -> None:
    def ask(**wanted: object) -> openai.types.chat.chat_completion.Choice:
        given: dict[str, object] = {"model": BARE, "messages": CAPITAL, **wanted}
        return client.chat.completions.create(**given).choices[0]

    cut = ask(temperature=0, max_tokens=3)
    stopped = ask(temperature=0, stop=["Paris", "nowhere"])
    first, second = (ask(temperature=1.2, seed=7, top_p=0.9, max_tokens=16) for _ in range(2))

    assert cut.finish_reason == "length"
    assert stopped.finish_reason == "stop"
    assert "Paris" not in (stopped.message.content or "")
    assert first.message.content == second.message.content


def test_a_client_that_leaves_frees_the_model(system: System, client: OpenAI) -> None:
    story = said("Write a very long story about a ship.")
    for _ in range(12):
        stream = client.chat.completions.create(model=BARE, messages=story, stream=True)
        next(iter(stream))
        stream.close()

    # Twelve answers of up to two thousand tokens would take minutes.
    answer = client.with_options(timeout=30, max_retries=0).chat.completions.create(
        model=BARE, messages=CAPITAL, max_tokens=4
    )

    assert answer.choices


def test_embeddings_are_the_same_as_floats_and_as_base64(client: OpenAI) -> None:
    texts = ["The cat only eats tuna.", "我妹妹住在里斯本"]

    decoded = client.embeddings.create(model=EMBEDDER, input=texts)
    floats = client.embeddings.create(model=EMBEDDER, input=texts, encoding_format="float")
    raw = client.embeddings.with_raw_response.create(
        model=EMBEDDER, input=texts, encoding_format="base64"
    )

    vectors = [item.embedding for item in floats.data]
    assert [item.embedding for item in decoded.data] == vectors
    assert [len(vector) for vector in vectors] == [384, 384]
    assert math.isclose(sum(x * x for x in vectors[0]), 1, abs_tol=1e-4)
    packed = b64decode(raw.http_response.json()["data"][0]["embedding"])
    assert list(struct.unpack("<384f", packed)) == vectors[0]
    assert floats.usage.total_tokens > 10


def test_more_texts_than_one_call_takes_are_embedded_in_order(client: OpenAI) -> None:
    texts = [f"Number {index}" for index in range(300)]

    many = client.embeddings.create(model=EMBEDDER, input=texts)
    one = client.embeddings.create(model=EMBEDDER, input=texts[299])

    assert [item.index for item in many.data] == list(range(300))
    pairs = zip(many.data[299].embedding, one.data[0].embedding, strict=True)
    assert sum(a * b for a, b in pairs) > 0.998


def test_the_assistant_remembers_between_conversations_of_a_user(client: OpenAI) -> None:
    def ask(text: str, user: str, conversation: str) -> str:
        answer = client.chat.completions.create(
            model="clawdbot",
            messages=said(text),
            user=user,
            metadata={"conversation_id": conversation},
        )
        return answer.choices[0].message.content or ""

    ask("My dog is called Biscuit.", "ada", "one")

    assert "Biscuit" in ask("What is the name of my dog?", "ada", "two")
    assert "Biscuit" not in ask("What is the name of my dog?", "bob", "one")


def test_the_assistant_streams_its_stored_answer(client: OpenAI) -> None:
    key = {"Idempotency-Key": "the-sea"}
    question = said("Tell me about the sea.")

    stream = client.chat.completions.create(
        model="clawdbot",
        messages=question,
        stream=True,
        stream_options={"include_usage": True},
        extra_headers=key,
    )
    *chunks, last = list(stream)
    again = client.chat.completions.create(model="clawdbot", messages=question, extra_headers=key)

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert len(chunks) > 4
    assert again.choices[0].message.content == text
    assert last.usage == again.usage


class Person(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=20)]
    age: Annotated[int, Field(ge=0, le=150)]
    mood: Literal["happy", "sad"]


WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 30},
                "unit": {"$ref": "#/$defs/unit"},
            },
            "required": ["city", "unit"],
            "additionalProperties": False,
            "$defs": {"unit": {"enum": ["C", "F"]}},
        },
    },
}
CLOCK: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "get-time", "description": "Get the time of day."},
}


def test_an_answer_follows_its_schema(client: OpenAI) -> None:
    parsed = client.chat.completions.parse(
        model=BARE,
        messages=said("Ada is 36 years old and smiles. Describe her as JSON."),
        response_format=Person,
        temperature=0,
    )
    whole = client.chat.completions.create(
        model=BARE,
        messages=said("Describe a cat as JSON."),
        response_format={"type": "json_object"},
        temperature=0,
        max_tokens=200,
    )

    assert parsed.choices[0].finish_reason == "stop"
    assert isinstance(parsed.choices[0].message.parsed, Person)
    assert (whole.choices[0].message.content or "").startswith("{")


def test_a_schema_that_cannot_be_followed_is_a_bad_request(client: OpenAI) -> None:
    def ask(schema: dict[str, object]) -> None:
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        client.chat.completions.create(model=BARE, messages=CAPITAL, response_format=form)

    with pytest.raises(openai.BadRequestError, match="uniqueItems") as refused:
        ask({"type": "array", "uniqueItems": True})

    assert refused.value.param == "response_format"


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("required", {"get_weather", "get-time"}),
        ({"type": "function", "function": {"name": "get_weather"}}, {"get_weather"}),
    ],
    ids=["any", "named"],
)
def test_a_required_call_has_the_arguments_of_its_function(
    client: OpenAI, choice: ChatCompletionToolChoiceOptionParam, names: set[str]
) -> None:
    answer = client.chat.completions.create(
        model=BARE,
        messages=said("What is the weather in Paris?"),
        tools=[WEATHER, CLOCK],
        tool_choice=choice,
        temperature=0,
    )

    [made] = answer.choices
    assert made.finish_reason == "tool_calls"
    assert made.message.content is None
    [call] = made.message.tool_calls or []
    assert call.type == "function"
    assert call.function.name in names
    arguments = json.loads(call.function.arguments)
    assert set(arguments) == ({"city", "unit"} if call.function.name == "get_weather" else set())


def test_a_call_streams_and_its_result_is_answered(client: OpenAI) -> None:
    question = said("What is the weather in Paris?")
    given: dict[str, Any] = {"model": BARE, "tools": [WEATHER], "temperature": 0}
    whole = client.chat.completions.create(messages=question, tool_choice="required", **given)

    with client.chat.completions.stream(
        messages=question, tool_choice="required", **given
    ) as stream:
        streamed = stream.get_final_completion()
    message = streamed.choices[0].message
    [call] = message.tool_calls or []
    answered = client.chat.completions.create(
        messages=[
            *question,
            {
                "role": "assistant",
                "tool_calls": [call.model_dump(include={"id", "type", "function"})],
            },
            {"role": "tool", "tool_call_id": call.id, "content": "Sunny, 24 C."},
        ],
        tool_choice="none",
        **given,
    )

    [expected] = whole.choices[0].message.tool_calls or []
    assert call.function.arguments == expected.function.arguments
    assert streamed.choices[0].finish_reason == "tool_calls"
    assert answered.choices[0].message.content
    assert answered.choices[0].message.tool_calls is None


def test_a_model_that_may_choose_writes_text_or_a_call(client: OpenAI) -> None:
    for question in ("What is the weather in Paris?", "What is two plus two?"):
        [choice] = client.chat.completions.create(
            model=BARE,
            messages=said(question),
            tools=[WEATHER, CLOCK],
            temperature=0,
            max_tokens=200,
        ).choices

        calls = choice.message.tool_calls or []
        assert bool(calls) != bool(choice.message.content)
        if choice.finish_reason == "tool_calls":
            json.loads(calls[0].function.arguments)


@pytest.mark.parametrize("page", ["docs/openai.md", "docs/zh/openai.md"])
def test_the_examples_of_the_documentation_run(system: System, page: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    code = "\n".join(blocks).replace("http://127.0.0.1:8000", system.url)
    code = re.sub('api_key="<.*?>"', f'api_key="{system.token("reader")}"', code)
    names: dict[str, Any] = {"__name__": "examples"}

    exec(compile(code, page, "exec"), names)

    assert names["parsed"].choices[0].message.parsed is not None
    assert len(names["vectors"].data) == 2
    names["client"].close()


def test_errors_are_the_classes_of_the_client(system: System, client: OpenAI) -> None:
    with client_of(system, key="sk-nothing") as stranger:
        with pytest.raises(openai.AuthenticationError) as unknown:
            stranger.models.list()
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-4o", messages=said("hi"))
    with pytest.raises(openai.BadRequestError) as several:
        client.chat.completions.create(model=BARE, messages=said("hi"), n=2)
    with pytest.raises(openai.BadRequestError) as tokens:
        client.embeddings.create(model=EMBEDDER, input=[1, 2, 3])
    with pytest.raises(openai.BadRequestError) as cut:
        client.embeddings.create(model=EMBEDDER, input="hi", dimensions=8)
    with pytest.raises(openai.BadRequestError) as long:
        client.chat.completions.create(model=BARE, messages=said("sea " * 3000))

    assert unknown.value.code == "invalid_api_key"
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    assert (several.value.code, several.value.param) == ("unsupported_parameter", "n")
    assert tokens.value.param == "input"
    assert cut.value.param == "dimensions"
    assert long.value.param == "messages"


def test_one_request_too_many_is_a_rate_limit_error(
    new_system: Callable[..., System],
) -> None:
    with new_system(gateway={"max_inflight": 1}).running("gateway", "inference") as small:
        with client_of(small).with_options(max_retries=0) as client:
            story = said("Write a very long story about a ship.")
            with client.chat.completions.create(model=BARE, messages=story, stream=True) as held:
                next(iter(held))

                with pytest.raises(openai.RateLimitError) as refused:
                    client.chat.completions.create(model=BARE, messages=said("hi"))

    assert refused.value.code == "rate_limit_exceeded"
    assert refused.value.response.headers["retry-after"] == "1"
