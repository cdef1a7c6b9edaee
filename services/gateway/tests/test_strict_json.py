from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawdbot.gateway.adapters.refusals import BadPayload
from clawdbot.gateway.adapters.strict_json import MAX_DEPTH, parse_object

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)


@settings(max_examples=40)
@given(st.dictionaries(st.text(), values, max_size=4), st.booleans())
def test_plain_json_is_read_as_python_reads_it(document: dict[str, object], ascii_: bool) -> None:
    text = json.dumps(document, ensure_ascii=ascii_)
    data = text.encode("utf-8", "surrogatepass")

    assert parse_object(data) == json.loads(text)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_never_a_crash(data: bytes) -> None:
    try:
        parse_object(data)
    except BadPayload:
        return


@given(st.text(alphabet='[]{}",:\\a1 ', max_size=400))
def test_any_brackets_and_quotes_are_read_or_refused_never_a_crash(text: str) -> None:
    try:
        parse_object(b'{"a":' + text.encode() + b"}")
    except BadPayload:
        return


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b"{} {}",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":1,"a":2}',
        b'{"b":{"a":1,"a":1}}',
        b'{"a":' + b"9" * 5000 + b"}",
        b"\xef\xbb\xbf{}",
        b'{"a":"\xff"}',
        '{"a":"b"}'.encode("utf-16"),
        b"{'a':1}",
        b'{"a":"\x01"}',
    ],
)
def test_what_two_programs_could_read_differently_is_refused(data: bytes) -> None:
    with pytest.raises(BadPayload):
        parse_object(data)


def nested(levels: int) -> bytes:
    return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def test_depth_is_counted_to_the_level() -> None:
    parse_object(nested(MAX_DEPTH))

    with pytest.raises(BadPayload, match="deeper"):
        parse_object(nested(MAX_DEPTH + 1))


def test_brackets_in_text_and_brackets_side_by_side_are_not_depth() -> None:
    text = '"[' * 10 + "\\"
    data = json.dumps({"a": "[{" * 500, text: text, "b": [[]] * 500}).encode()

    assert parse_object(data)["a"] == "[{" * 500


def test_more_lists_and_objects_than_a_message_has_are_refused() -> None:
    parse_object(b'{"a":[' + b"[]," * 9_997 + b"[]]}")

    with pytest.raises(BadPayload, match="10000 lists"):
        parse_object(b'{"a":[' + b"[]," * 9_998 + b"[]]}")


def test_a_megabyte_of_nesting_is_refused_before_it_is_parsed() -> None:
    for bomb in (b"[" * 1_000_000, b'{"a":' * 200_000, b"[" * 100 + b'"' * 500_000):
        with pytest.raises(BadPayload):
            parse_object(bomb)
