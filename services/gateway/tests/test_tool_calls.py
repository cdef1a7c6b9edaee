from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from clawdbot.gateway.domain.completions import CallBegun, CallPiece, Piece, ToolCall
from clawdbot.gateway.domain.tool_calls import NO_PARAMETERS, CallText, Tool, Toolbox
from clawdbot.schema.inference import ChatTurn

CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"$ref": "#/$defs/unit"}},
    "required": ["city", "unit"],
    "additionalProperties": False,
    "$defs": {"unit": {"enum": ["C", "F"]}},
}
CLOCK = Tool("get-time", "Get the time.", NO_PARAMETERS)
WEATHER = Tool("get_weather", "Get the weather.", CITY)
arguments = st.dictionaries(st.text(max_size=5), st.text(max_size=8) | st.integers(), max_size=3)


def pieces_of(data: st.DataObject, text: str) -> list[str]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@given(st.data(), arguments)
def test_a_call_is_read_however_it_is_cut_into_pieces(
    data: st.DataObject, given_arguments: dict[str, Any]
) -> None:
    written = json.dumps(given_arguments)
    text = f'{{"name": "get_weather", "arguments": {written}}}'
    reader = CallText()

    events = [event for piece in pieces_of(data, text) for event in reader.push(piece)]
    events += reader.finish(is_cut=False)

    assert events[0] == CallBegun("get_weather")
    assert all(isinstance(event, CallPiece) for event in events[1:])
    assert "".join(event.arguments for event in events[1:]) == written
    assert reader.call(is_cut=False) == ToolCall("get_weather", written)


@given(st.data(), st.text(max_size=20).filter(lambda text: not text.startswith("{")))
def test_any_other_text_stays_text(data: st.DataObject, text: str) -> None:
    reader = CallText()

    events = [event for piece in pieces_of(data, text) for event in reader.push(piece)]
    events += reader.finish(is_cut=False)

    assert "".join(event.text for event in events if isinstance(event, Piece)) == text
    assert reader.call(is_cut=False) is None


@given(st.integers(0, 50))
def test_a_call_that_is_cut_loses_nothing(length: int) -> None:
    text = '{"name": "get_weather", "arguments": {"city": "Paris"}}'[:length]
    reader = CallText()

    events = [*reader.push(text), *reader.finish(is_cut=True)]

    head = '{"name": "get_weather", "arguments": '
    if length < len(head):
        assert "".join(event.text for event in events) == text
    else:
        assert [event for event in events if isinstance(event, CallBegun)]
        shown = "".join(event.arguments for event in events if isinstance(event, CallPiece))
        assert head + shown == text
        assert reader.call(is_cut=True) == ToolCall("get_weather", shown)


@pytest.mark.parametrize(
    ("call", "is_one"),
    [
        ({"name": "get-time", "arguments": {}}, True),
        ({"name": "get_weather", "arguments": {"city": "Paris", "unit": "C"}}, True),
        ({"name": "get_weather", "arguments": {"city": "Paris", "unit": "K"}}, False),
        ({"name": "get-time", "arguments": {"city": "Paris"}}, False),
        ({"name": "other", "arguments": {}}, False),
        ({"name": "get-time"}, False),
    ],
)
def test_the_schema_is_that_of_a_call_with_its_own_arguments(
    call: dict[str, Any], is_one: bool
) -> None:
    schema = json.loads(Toolbox((CLOCK, WEATHER), is_required=True).schema())

    Draft202012Validator.check_schema(schema)
    assert Draft202012Validator(schema).is_valid(call) is is_one


def test_functions_are_explained_in_the_first_system_message() -> None:
    user = ChatTurn(role="user", content="hi")
    system = ChatTurn(role="system", content="Be short.")
    optional, required = Toolbox((CLOCK,), is_required=False), Toolbox((CLOCK,), is_required=True)

    [alone, _] = optional.told([user])
    [joined, _] = required.told([system, user])

    assert (alone.role, joined.role) == ("system", "system")
    assert '"get-time"' in alone.content
    assert joined.content.startswith("Be short.\n\n")
    assert "plain text" in alone.content
    assert "plain text" not in joined.content
