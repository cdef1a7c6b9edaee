"""Addresses: no input adds a level or a wildcard, and what is built can be read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.schema import subjects
from clawdbot.schema.errors import InvalidMessage
from clawdbot.schema.ids import Channel, ConversationId, IdKey, MessageId, Tenant, derived

KEY = IdKey(b"0123456789abcdef")
anything = st.text(max_size=80)
tokens = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)


@given(anything, anything, anything)
def test_no_input_can_change_the_shape_of_an_address(a: str, b: str, c: str) -> None:
    try:
        subject = subjects.inbound(Tenant(a), ConversationId(b), MessageId(c))
    except InvalidMessage:
        return
    assert subject.split(".") == ["claw", "in", a, b, c]
    assert not set(subject) & set("*> \t\r\n")


@given(tokens, tokens, tokens)
def test_an_inbound_address_is_read_back(tenant: str, conversation: str, message: str) -> None:
    parts = (Tenant(tenant), ConversationId(conversation), MessageId(message))

    assert subjects.parse_inbound(subjects.inbound(*parts)) == parts


@given(tokens, tokens, tokens, tokens, st.integers(0, 10_000))
def test_an_outbound_address_is_read_back(
    channel: str, tenant: str, conversation: str, message: str, part: int
) -> None:
    parts = (
        Channel(channel),
        Tenant(tenant),
        ConversationId(conversation),
        MessageId(message),
        part,
    )

    assert subjects.parse_outbound(subjects.outbound(*parts)) == parts


@given(anything)
def test_a_foreign_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidMessage):
        subjects.lane(f"claw.other.{text}")


@given(anything, anything)
def test_whatever_a_platform_calls_things_their_ids_are_tokens(account: str, event: str) -> None:
    message = KEY.message(Channel(account), event)
    conversation = KEY.conversation(Tenant("t"), Channel(account), event)

    assert subjects.inbound(Tenant("t"), conversation, message).count(".") == 4


@given(anything, anything, anything, anything)
def test_different_events_have_different_ids(a: str, b: str, c: str, d: str) -> None:
    same_event = (a, b) == (c, d)

    assert (KEY.message(Channel(a), b) == KEY.message(Channel(c), d)) == same_event


def test_ids_of_another_key_are_different() -> None:
    other = IdKey(b"another key of 16+ bytes")

    assert KEY.message(Channel("a"), "1") != other.message(Channel("a"), "1")


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        IdKey(b"short")


def test_derived_ids_depend_on_every_part() -> None:
    assert derived("m", "1") != derived("m", "2") != derived("m1", "")
    assert derived("m", "1") == derived("m", "1")
