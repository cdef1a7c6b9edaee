"""The wire: what is encoded comes back, what is hostile is refused, what was released stays."""

from __future__ import annotations

import contextlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.schema.codec import MAX_PAYLOAD_BYTES, decode, encode
from clawdbot.schema.errors import InvalidMessage, TooLarge
from clawdbot.schema.ids import Channel, ConversationId, MessageId, Tenant
from clawdbot.schema.inference import ChatRequest, ChatTurn
from clawdbot.schema.messages import Attachment, Delta, InboundMessage
from clawdbot.schema.wire import Wire

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=200)
tokens = st.from_regex(r"[a-z0-9_-]{1,26}", fullmatch=True)
inbound_messages = st.builds(
    InboundMessage,
    platform=tokens,
    sender_id=texts.filter(bool),
    content=texts,
    timestamp=st.integers(0, 253_402_300_799),
    attachments=st.lists(
        st.builds(Attachment, type=tokens, url=texts, name=st.none() | texts), max_size=3
    ).map(tuple),
    message_id=tokens.map(MessageId),
    tenant=tokens.map(Tenant),
    conversation_id=tokens.map(ConversationId),
    channel=tokens.map(Channel),
    thread_id=st.none() | texts,
    reply_to=st.none() | st.binary(max_size=64),
    accepted_at_ms=st.integers(0, 2**53),
    deadline_ms=st.integers(0, 2**53),
)


@given(inbound_messages)
def test_a_message_comes_back_as_it_was_sent(message: InboundMessage) -> None:
    assert decode(InboundMessage, encode(message), InboundMessage.SCHEMA) == message


@given(st.binary(max_size=300))
def test_hostile_bytes_give_our_error_and_nothing_else(data: bytes) -> None:
    with contextlib.suppress(InvalidMessage):
        decode(InboundMessage, data)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(InvalidMessage):
        decode(Delta, b"\x91" * 100_000)


def test_a_wrong_field_is_named() -> None:
    data = msgpack.packb({"message_id": "m", "index": "many", "text": "x"})

    with pytest.raises(InvalidMessage) as caught:
        decode(Delta, data)

    assert caught.value.field == "index"


def test_fields_of_a_newer_version_are_ignored() -> None:
    data = msgpack.packb({"message_id": "m", "index": 1, "text": "x", "colour": "red"})

    assert decode(Delta, data, "delta/1") == Delta(message_id=MessageId("m"), index=1, text="x")


def test_a_missing_optional_field_takes_its_default() -> None:
    data = msgpack.packb({"messages": [{"role": "user", "content": "hello"}]})

    assert decode(ChatRequest, data).max_tokens == ChatRequest.model_fields["max_tokens"].default


@pytest.mark.parametrize("schema", ["delta/2", "delta_end/1", "", "delta/1 "])
def test_another_type_or_major_version_is_refused(schema: str) -> None:
    with pytest.raises(InvalidMessage, match="expected delta/1"):
        decode(Delta, encode(Delta(message_id=MessageId("m"), index=0, text="")), schema)


def test_a_message_over_the_limit_is_refused_before_it_is_sent() -> None:
    class Large(Wire):
        SCHEMA = "large/1"

        data: bytes

    with pytest.raises(TooLarge):
        encode(Large(data=b"x" * MAX_PAYLOAD_BYTES))


def test_a_message_cannot_be_changed() -> None:
    turn = ChatTurn(role="user", content="hello")

    with pytest.raises(ValueError, match="frozen"):
        turn.content = "goodbye"  # type: ignore[misc]  # the point of the test
