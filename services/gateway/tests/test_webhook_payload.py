from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.adapters.webhook import Ages, ReplyAddress, parse_webhook
from clawdbot.gateway.domain.messages import framed
from clawdbot.schema.errors import InvalidMessage
from clawdbot.schema.ids import IdKey, Tenant

TENANT = Tenant("default")
IDS = IdKey(b"0123456789abcdef")


def parse(**fields: object):
    given = {"sender_id": "user123", "content": "hello", "timestamp": 1672531200, **fields}
    return parse_webhook(
        json.dumps({name: value for name, value in given.items() if value is not ...}).encode(),
        TENANT,
    )


def test_the_public_example_is_read() -> None:
    raw = (
        b'{"platform": "slack", "sender_id": "user123", "content": "...", "timestamp": 1672531200,'
        b' "attachments": [{"type": "image", "url": "..."}], "new_field": [1]}'
    )

    submission = parse_webhook(raw, TENANT)

    assert (submission.platform, submission.sender_id, submission.timestamp) == (
        "slack",
        "user123",
        1672531200,
    )
    assert [(item.type, item.url) for item in submission.attachments] == [("image", "...")]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"sender_id": ...}, "sender_id"),
        ({"sender_id": ""}, "sender_id"),
        ({"sender_id": 5}, "sender_id"),
        ({"sender_id": "a\x00"}, "sender_id"),
        ({"sender_id": "\ud800"}, "sender_id"),
        ({"sender_id": "a" * 257}, "sender_id"),
        ({"content": ...}, "content"),
        ({"content": None}, "content"),
        ({"content": ["x"]}, "content"),
        ({"content": "x" * 64_001}, "content"),
        ({"content": " \n"}, "content"),
        ({"timestamp": ...}, "timestamp"),
        ({"timestamp": "1672531200"}, "timestamp"),
        ({"timestamp": True}, "timestamp"),
        ({"timestamp": 1.5}, "timestamp"),
        ({"timestamp": 1672531200.0}, "timestamp"),
        ({"timestamp": -1}, "timestamp"),
        ({"timestamp": 1672531200000}, "timestamp"),
        ({"platform": "Slack"}, "platform"),
        ({"platform": "a" * 65}, "platform"),
        ({"platform": "a\n"}, "platform"),
        ({"platform": "a.b"}, "platform"),
        ({"attachments": {}}, "attachments"),
        ({"attachments": [{"type": "image", "url": "x"}] * 33}, "attachments"),
        ({"attachments": [{"type": "image"}]}, "attachments.0.url"),
        ({"attachments": ["x"]}, "attachments.0"),
        ({"attachments": [{"type": "image", "url": 1}]}, "attachments.0.url"),
        ({"message_id": ""}, "message_id"),
        ({"conversation_id": 7}, "conversation_id"),
        ({"thread_id": "x" * 257}, "thread_id"),
    ],
)
def test_a_wrong_field_is_named_with_its_fix_and_never_echoed(
    fields: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidMessage) as error:
        parse(**fields)

    assert error.value.field == field
    assert error.value.fix
    assert "AttachmentBody" not in f"{error.value.message} {error.value.fix}"


def test_nul_and_lone_surrogates_in_the_content_become_replacement_characters() -> None:
    submission = parse(content="a\x00b\ud83dc 😀")

    assert submission.content == "a\ufffdb\ufffdc 😀"


@pytest.mark.parametrize(
    ("age_s", "max_age_s", "is_taken"),
    [
        (-300, None, True),
        (-301, None, False),
        (10**8, None, True),
        (3600, 3600, True),
        (3601, 3600, False),
        (-301, 3600, False),
    ],
)
def test_a_message_is_not_of_the_future_and_no_older_than_configured(
    age_s: int, max_age_s: float | None, is_taken: bool
) -> None:
    raw = b'{"sender_id": "u1", "content": "hi", "timestamp": 1672531200}'
    ages = Ages(max_age_s, now=lambda: 1672531200 + age_s)

    if is_taken:
        parse_webhook(raw, TENANT, ages)
    else:
        with pytest.raises(InvalidMessage) as error:
            parse_webhook(raw, TENANT, ages)
        assert error.value.field == "timestamp"


def test_what_a_file_lacks_may_be_null() -> None:
    (file,) = parse(attachments=[{"type": "image", "url": "x", "name": None}]).attachments

    assert file.name is None


def test_an_attachment_without_text_is_enough() -> None:
    assert parse(content="", attachments=[{"type": "image", "url": "x"}]).attachments


def test_the_sender_is_the_conversation_unless_another_is_named() -> None:
    assert parse().place == ("webhook", "with", "user123", "")
    assert parse(conversation_id="team", thread_id="t1").place == ("webhook", "in", "team", "t1")


def test_a_conversation_that_is_called_like_a_sender_is_another_one() -> None:
    assert parse(conversation_id="user123").place != parse().place


def test_a_reply_of_ours_is_no_message() -> None:
    with pytest.raises(InvalidMessage, match="this is a reply, not a message"):
        parse(is_final=True)


def test_the_reply_address_holds_the_senders_own_names() -> None:
    submission = parse(message_id="m-1", conversation_id="team", platform="slack")

    assert ReplyAddress.read(submission.reply_to) == ReplyAddress(
        platform="slack",
        sender_id="user123",
        sender_message_id="m-1",
        sender_conversation_id="team",
    )
    assert ReplyAddress.read(None) == ReplyAddress()


names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=20)


@given(own_id=names, content=st.text(max_size=20).filter(str.strip), stamp=st.integers(0, 10**9))
def test_the_senders_id_alone_makes_the_event_within_a_conversation(
    own_id: str, content: str, stamp: int
) -> None:
    first = parse(message_id=own_id)
    second = parse(message_id=own_id, content=content, timestamp=stamp)

    assert first.event_id == second.event_id
    assert first.event_id != parse(message_id=own_id, conversation_id="elsewhere").event_id


@given(one=st.tuples(names, names), other=st.tuples(names, names))
def test_without_an_id_different_bodies_are_different_events(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    ids = {
        parse(sender_id=sender, content=f"{content}.").event_id for sender, content in (one, other)
    }

    assert len(ids) == len({one, other})


@given(st.lists(names, min_size=1, max_size=4), st.lists(names, min_size=1, max_size=4))
def test_framed_parts_never_run_together(one: list[str], other: list[str]) -> None:
    assert (framed(*one) == framed(*other)) == (one == other)


@given(names, names)
def test_no_sender_can_add_a_token_or_a_wildcard_to_an_address(own_id: str, sender: str) -> None:
    event = parse(message_id=own_id, sender_id=sender).event_id

    assert IDS.message(parse().channel, event).isalnum()
