"""`tools` and `response_format` of completions, over the recording fakes."""

from __future__ import annotations

import json

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clawdbot.gateway.adapters.openai_requests import CompletionBody
from clawdbot.schema.errors import InvalidMessage
from clawdbot.schema.inference import ChatDelta, ChatDone, FinishReason
from clawdbot.schema.messages import Usage

CLOCK = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object"}}}
NAMED = {"type": "function", "function": {"name": "get_time"}}
FIELDS = st.sampled_from(
    [*CompletionBody.model_fields, "n", "logprobs", "functions", "audio", "logit_bias"]
)
WORDS = st.sampled_from(
    ["type", "function", "name", "json_schema", "schema", "text", "content", "role", "x", ""]
) | st.text(max_size=5)
CALL = '{"name": "get_time", "arguments": {"zone": "CET"}}'


def answered(text: str, reason: FinishReason = FinishReason.STOP) -> list[ChatDelta | ChatDone]:
    usage = Usage(prompt_tokens=3, completion_tokens=2)
    done = ChatDone(text=text, model="toy/1", finish_reason=reason, usage=usage)
    return [*(ChatDelta(text=character) for character in text), done]


@pytest.fixture
def post(client: httpx.AsyncClient, bearer):
    async def send(**fields: object) -> httpx.Response:
        body = {"model": "toy", "messages": [{"role": "user", "content": "hi"}], **fields}
        return await client.post("/v1/chat/completions", json=body, headers=bearer())

    return send


@pytest.mark.parametrize(
    ("form", "schema"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "object"}),
        (
            {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": ["b", "a"]}}},
            {"enum": ["b", "a"]},
        ),
    ],
)
async def test_the_format_becomes_the_schema(door, post, form, schema) -> None:
    door.inference.script = answered('"a"')

    answer = await post(response_format=form)

    [asked] = door.inference.asked
    assert answer.status_code == 200
    assert (asked.json_schema and json.loads(asked.json_schema)) == schema
    assert not asked.is_json_optional


@pytest.mark.parametrize(
    ("choice", "is_asked", "is_optional"),
    [
        (None, True, True),
        ("auto", True, True),
        ("none", False, False),
        ("required", True, False),
        (NAMED, True, False),
    ],
)
async def test_the_choice_decides_what_may_be_written(
    door, post, choice, is_asked: bool, is_optional: bool
) -> None:
    door.inference.script = answered("hello")

    answer = await post(tools=[CLOCK], tool_choice=choice)

    [asked] = door.inference.asked
    assert answer.status_code == 200
    assert (asked.json_schema is not None) == is_asked
    assert ("get_time" in asked.messages[0].content) == is_asked
    assert asked.is_json_optional == is_optional
    assert answer.json()["choices"][0]["message"]["content"] == "hello"


async def test_a_call_is_given_as_one(door, post) -> None:
    door.inference.script = answered(CALL)

    whole = (await post(tools=[CLOCK])).json()["choices"][0]
    stream = await post(tools=[CLOCK], stream=True)

    [call] = whole["message"]["tool_calls"]
    assert (whole["finish_reason"], whole["message"]["content"]) == ("tool_calls", None)
    assert call["function"] == {"name": "get_time", "arguments": '{"zone": "CET"}'}
    lines = [line[6:] for line in stream.text.splitlines() if line.startswith("data: {")]
    choices = [json.loads(line)["choices"][0] for line in lines]
    calls = [made for choice in choices for made in choice["delta"].get("tool_calls", ())]
    assert calls[0]["function"] == {"name": "get_time", "arguments": ""}
    assert calls[0]["id"].startswith("call_")
    assert "".join(made["function"]["arguments"] for made in calls) == '{"zone": "CET"}'
    assert choices[-1]["finish_reason"] == "tool_calls"


async def test_a_call_that_was_cut_says_so(door, post) -> None:
    door.inference.script = answered(CALL[:-7], FinishReason.LENGTH)

    choice = (await post(tools=[CLOCK])).json()["choices"][0]

    assert choice["finish_reason"] == "length"
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == '{"zone": '


async def test_calls_and_results_stand_in_the_history(door, post) -> None:
    door.inference.script = answered("It is noon.")
    function = {"name": "get_time", "arguments": '{"zone": "CET"}'}
    history = [
        {"role": "user", "content": "What time is it?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "12:00"},
    ]

    await post(messages=history)

    turns = [(turn.role, turn.content) for turn in door.inference.asked[0].messages]
    assert turns[1:] == [("assistant", CALL), ("tool", "12:00")]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": {}}, "tools"),
        ({"tools": ["x"] * 129}, "tools"),
        ({"tools": ["x"]}, "tools.0"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools.0"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools.0"),
        (
            {"tools": [{"type": "function", "function": {"name": "a b"}}]},
            "tools.0.function.name",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "a", "parameters": 5}}]},
            "tools.0.function.parameters",
        ),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [CLOCK], "tool_choice": "always"}, "tool_choice"),
        (
            {"tools": [CLOCK], "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice",
        ),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {"type": "json_object"}, "tools": [CLOCK]}, "response_format"),
        ({"model": "clawdbot", "tools": [CLOCK]}, "tools"),
        ({"model": "clawdbot", "response_format": {"type": "json_object"}}, "response_format"),
    ],
)
async def test_what_cannot_be_done_is_refused_by_name(door, post, fields, param: str) -> None:
    answer = await post(**fields)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert door.inference.asked == []


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.slow
@given(fields=st.dictionaries(FIELDS, JSON, max_size=4))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
async def test_whatever_is_sent_is_answered_or_refused(door, post, fields) -> None:
    door.inference.script = answered("hello")

    answer = await post(**fields)

    assert answer.status_code in {200, 400, 404, 413}
    assert "choices" in answer.text or "error" in answer.json()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [CLOCK]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
    ],
)
async def test_a_schema_that_is_refused_is_named_as_it_was_sent(door, post, fields, param) -> None:
    door.inference.script = [InvalidMessage("cannot be followed", field="json_schema")]

    answer = await post(**fields)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
