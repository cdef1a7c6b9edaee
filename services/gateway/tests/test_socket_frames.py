from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.adapters.socket_frames import (
    METHODS,
    BadFrame,
    BadRequest,
    Connect,
    Ping,
    Resume,
    Send,
    read_request,
    write_error,
    write_stored,
)
from clawdbot.gateway.domain.sockets import Position, StoredReply
from clawdbot.schema.errors import ErrorReply, Overloaded
from clawdbot.schema.ids import Channel, ConversationId, MessageId, Tenant
from clawdbot.schema.messages import OutboundMessage, ReplyKind, ReplyMetadata

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=64)


def frame(**fields: object) -> str:
    return json.dumps({"type": "req", "id": "1", "method": "ping", **fields})


@given(st.text() | JSON.map(json.dumps))
def test_whatever_comes_is_a_request_or_refused_as_ours(text: str) -> None:
    try:
        request = read_request(text)
    except (BadFrame, BadRequest):
        return

    assert request.method in METHODS


@given(
    st.fixed_dictionaries(
        {"type": st.just("req") | JSON, "id": NAMES | JSON, "method": st.sampled_from([*METHODS])},
        optional={"params": JSON},
    )
)
def test_parameters_of_any_shape_are_read_or_refused_as_ours(fields: dict[str, object]) -> None:
    try:
        request = read_request(json.dumps(fields))
        answered = (request.id, request.method)
    except BadFrame:
        return
    except BadRequest as refused:
        answered = (refused.id, fields["method"])

    assert answered == (fields["id"], fields["method"])


@given(NAMES, NAMES, st.text(min_size=1).filter(str.strip))
def test_a_message_is_read_as_it_was_said(request_id: str, name: str, content: str) -> None:
    params = {"conversation_id": name, "content": content}

    request = read_request(frame(id=request_id, method="send", params=params))

    assert isinstance(request.params, Send)
    assert (request.id, request.params.conversation_id) == (request_id, name)
    clean = content.replace("\x00", "\ufffd").encode("utf-16", "surrogatepass")
    assert len(request.params.content) == len(clean.decode("utf-16", "replace"))


def test_a_connect_says_where_an_earlier_one_broke_off() -> None:
    params = {"token": "t", "conversations": ["a", "b"], "resume": {"seq": 41}}

    request = read_request(frame(method="connect", params=params))

    assert request.params == Connect(token="t", conversations=("a", "b"), resume=Resume(seq=41))


def test_parameters_may_be_left_out_and_unknown_ones_are_ignored() -> None:
    assert read_request(frame()).params == read_request(frame(params={"new": 1})).params == Ping()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"type": "req", "type": "req", "id": "1", "method": "ping"}',
        frame(type="res"),
        frame(id=1),
        frame(id=""),
        frame(id="x" * 65),
        frame(id="a\nb"),
        frame(method=None),
        frame(params=[]),
        "[" * 100_000,
    ],
)
def test_what_nobody_could_answer_is_no_frame(text: str) -> None:
    with pytest.raises(BadFrame):
        read_request(text)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"method": "shutdown"}, "method"),
        ({"method": "send", "params": {"content": "x"}}, "conversation_id"),
        ({"method": "send", "params": {"conversation_id": "c", "content": " "}}, "content"),
        ({"method": "send", "params": {"conversation_id": "c", "content": 1}}, "content"),
        ({"method": "subscribe", "params": {"conversation_id": "c", "after_seq": -1}}, "after_seq"),
        ({"method": "connect", "params": {"resume": {"seq": "1"}}}, "resume.seq"),
    ],
)
def test_what_is_wrong_is_named_and_can_be_answered(fields: dict[str, object], field: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read_request(frame(**fields))

    assert (refused.value.id, refused.value.error.field) == ("1", field)


def reply(**fields: object) -> StoredReply:
    message = OutboundMessage.model_validate(
        {
            "channel": Channel("api"),
            "tenant": Tenant("default"),
            "conversation_id": ConversationId("c" * 26),
            "message_id": MessageId("m" * 26),
            "content": "hello\nthere",
            "created_at_ms": 5_000,
            **fields,
        }
    )
    return StoredReply(Position(7, 1), message.conversation_id, message)


def test_a_stored_reply_carries_its_number_and_the_name_that_its_user_gave() -> None:
    told = json.loads(write_stored("diary", reply()))

    assert (told["type"], told["event"], told["seq"]) == ("event", "message", 7)
    assert told["data"] | {"attachments": [], "metadata": {"recalled": []}} == {
        "message_id": "m" * 26,
        "conversation_id": "diary",
        "content": "hello\nthere",
        "attachments": [],
        "metadata": {"recalled": []},
        "part": 0,
        "is_final": True,
        "timestamp": 5,
    }


def test_a_stored_error_is_an_event_of_its_own() -> None:
    error = ErrorReply(code="unavailable", message="the model is away", trace_id="f" * 32)
    stored = reply(kind=ReplyKind.ERROR, metadata=ReplyMetadata(error=error))

    told = json.loads(write_stored("diary", stored))

    assert (told["event"], told["seq"]) == ("error", 7)
    assert (told["data"]["error"]["code"], told["data"]["error"]["trace_id"]) == (
        "unavailable",
        "f" * 32,
    )


def test_a_reply_that_nobody_can_read_is_told_as_an_error_with_its_number() -> None:
    told = json.loads(write_stored("diary", StoredReply(Position(9, 1), ConversationId(""), None)))

    assert (told["event"], told["seq"], told["data"]["error"]["code"]) == ("error", 9, "internal")


def test_a_refusal_says_when_to_try_again() -> None:
    told = json.loads(write_error("1", Overloaded("busy", retry_after_s=2.0)))

    assert (told["ok"], told["error"]["retry_after_s"], told["error"]["status"]) == (
        False,
        2.0,
        429,
    )
