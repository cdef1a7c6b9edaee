from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.adapters.cursors import LATEST_MS, cursor, read_cursor
from clawdbot.gateway.domain.messages import API, framed
from clawdbot.gateway.domain.senders import key_of, own_user
from clawdbot.gateway.ports.records import KeptRecord
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import InvalidMessage, Unavailable
from clawdbot.schema.ids import ConversationId, IdKey, Tenant
from clawdbot.schema.memory import ConversationLine, ConversationSummary, Speaker
from clawdbot.schema.principal import Scope
from clawdbot.schema.senders import Link, Sender

Bearer = Callable[..., dict[str, str]]
IDS = IdKey(b"0123456789abcdef")
DEFAULT = Tenant("default")
READ = ["memory:read"]
WRITE = ["memory:write"]


def conversation(name: str, subject: str = "ada") -> ConversationId:
    return IDS.conversation(DEFAULT, API, framed(subject, name))


def user(subject: str = "ada") -> str:
    return own_user(IDS, API, API, subject)


def summary(name: str | None, at_s: int, of: ConversationId | None = None) -> ConversationSummary:
    return ConversationSummary(
        id=of or conversation(name or ""),
        name=name,
        length=2,
        started_at_ms=1000,
        updated_at_ms=at_s * 1000 + 7,
    )


def line(number: int, speaker: Speaker = Speaker.USER) -> ConversationLine:
    return ConversationLine(
        id=f"line{number}", speaker=speaker, content=f"text {number}", said_at_ms=number * 1000 + 9
    )


async def test_the_latest_conversations_are_listed_under_their_names(client, bearer, door) -> None:
    door.memory.summaries[user()] = [summary("holiday / plans", 30), summary("default", 20)]

    answer = await client.get("/api/conversations", headers=bearer(scopes=READ))

    assert answer.status_code == 200
    assert answer.json() == {
        "conversations": [
            {
                "conversation_id": "holiday / plans",
                "messages": 2,
                "started_at": 1,
                "updated_at": 30,
            },
            {"conversation_id": "default", "messages": 2, "started_at": 1, "updated_at": 20},
        ],
        "next": None,
    }


async def test_pages_show_every_conversation_once(client, bearer, door) -> None:
    names = [f"c{number}" for number in range(7)]
    door.memory.summaries[user()] = [summary(name, 100 - int(name[1])) for name in names]

    seen, parameters = [], {"limit": "3"}
    for _ in range(3):
        answer = await client.get(
            "/api/conversations", params=parameters, headers=bearer(scopes=READ)
        )
        page = answer.json()
        seen += [each["conversation_id"] for each in page["conversations"]]
        parameters["before"] = page["next"]

    assert seen == names
    assert page["next"] is None


async def test_what_the_author_cannot_name_is_left_out(client, bearer, door) -> None:
    elsewhere = conversation("default", subject="bob")
    door.memory.summaries[user()] = [
        summary("default", 30, of=elsewhere),
        summary(None, 20),
        summary("mine", 10),
    ]

    answer = await client.get("/api/conversations", headers=bearer(scopes=READ))

    assert [each["conversation_id"] for each in answer.json()["conversations"]] == ["mine"]


async def test_what_was_said_is_read_in_pages_from_the_end(client, bearer, door) -> None:
    door.memory.lines[conversation("default")] = [
        line(1),
        line(2, Speaker.ASSISTANT),
        line(3, Speaker.TOOL),
    ]
    path = "/api/conversations/default/messages"

    last = (await client.get(path, params={"limit": 2}, headers=bearer(scopes=READ))).json()
    first = (
        await client.get(path, params={"before": last["next"]}, headers=bearer(scopes=READ))
    ).json()

    assert last["messages"] == [
        {"id": "line2", "role": "assistant", "content": "text 2", "timestamp": 2},
        {"id": "line3", "role": "tool", "content": "text 3", "timestamp": 3},
    ]
    assert [each["id"] for each in first["messages"]] == ["line1"]
    assert first["next"] is None


async def test_a_page_that_is_too_large_for_the_bus_is_cut(client, bearer, door) -> None:
    door.memory.lines[conversation("default")] = [line(number) for number in range(1, 8)]
    door.memory.largest = 3

    seen, parameters = [], {}
    for _ in range(7):
        answer = await client.get(
            "/api/conversations/default/messages", params=parameters, headers=bearer(scopes=READ)
        )
        page = answer.json()
        seen = [each["id"] for each in page["messages"]] + seen
        if page["next"] is None:
            break
        parameters["before"] = page["next"]

    assert seen == [f"line{number}" for number in range(1, 8)]


async def test_reading_and_erasing_is_in_the_name_that_messages_have(client, bearer, door) -> None:
    headers = bearer()
    await client.post(
        "/api/chat", json={"content": "hi", "conversation_id": "a/b ü%"}, headers=headers
    )
    said = next(iter(door.inbox.principals.values()))
    path = f"/api/conversations/{quote('a/b ü%', safe='')}"

    await client.get(f"{path}/messages", headers=bearer(scopes=READ))
    await client.delete(path, headers=bearer(scopes=WRITE))

    reading, erasing = door.memory.principals
    assert (reading.user, reading.conversation_id) == (said.user, said.conversation_id)
    assert (erasing.user, erasing.conversation_id) == (said.user, said.conversation_id)
    assert (reading.tenant, reading.channel) == (said.tenant, said.channel)
    assert reading.scopes == {Scope.MEMORY_READ}
    assert erasing.scopes == {Scope.MEMORY_WRITE}


async def test_a_linked_user_asks_as_the_person_they_are(client, bearer, door) -> None:
    link = Link(user="person", group="g1")
    for name in (user(), "person"):
        sender = Sender(
            tenant=DEFAULT, channel=API, platform=API, sender_id="ada", user=name, link=link
        )
        key = key_of(DEFAULT, name)
        door.senders.kept[key] = KeptRecord(key, sender, 1)

    await client.get("/api/conversations", headers=bearer(scopes=READ))

    assert door.memory.principals[0].user == "person"


async def test_an_erased_conversation_is_gone_and_erasing_it_again_is_fine(
    client, bearer, door
) -> None:
    door.memory.lines[conversation("default")] = [line(1)]
    path, headers = "/api/conversations/default", bearer(scopes=[*READ, *WRITE])

    erased = await client.delete(path, headers=headers)
    again = await client.delete(path, headers=headers)
    read = await client.get(f"{path}/messages", headers=headers)

    assert (erased.status_code, erased.content) == (204, b"")
    assert again.status_code == 204
    assert read.status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "scopes"),
    [
        ("GET", "/api/conversations", ["chat", "memory:write"]),
        ("GET", "/api/conversations/x/messages", ["chat", "memory:write"]),
        ("DELETE", "/api/conversations/x", ["chat", "memory:read"]),
    ],
)
async def test_each_request_needs_its_scope(method, path, scopes, client, bearer, door) -> None:
    stranger = await client.request(method, path)
    refused = await client.request(method, path, headers=bearer(scopes=scopes))

    assert (stranger.status_code, refused.status_code) == (401, 403)
    assert door.memory.principals == []


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_without_the_memory_the_answer_is_503(method, client, bearer, door) -> None:
    door.memory.failure = Unavailable("nobody answers")
    path = "/api/conversations" if method == "GET" else "/api/conversations/x"

    answer = await client.request(method, path, headers=bearer(scopes=[*READ, *WRITE]))

    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert "retry-after" in answer.headers


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=1.5", "limit"),
        ("limit=", "limit"),
        ("limit=1&limit=2", "limit"),
        ("before=", "before"),
        ("before=abc", "before"),
        ("before=" + "W" * 600, "before"),
    ],
)
async def test_a_wrong_parameter_is_named(query, field, client, bearer) -> None:
    for path in ("/api/conversations", "/api/conversations/x/messages"):
        answer = await client.get(f"{path}?{query}", headers=bearer(scopes=READ))

        assert answer.status_code == 422
        assert answer.json()["field"] == field


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("%00", 422),
        ("%ff", 422),
        ("x" * 257, 422),
        ("a/b", 404),
        ("", 422),
    ],
)
async def test_a_name_that_cannot_be_is_refused(path, status, client, bearer, door) -> None:
    answer = await client.delete(f"/api/conversations/{path}", headers=bearer(scopes=WRITE))

    assert answer.status_code == status
    assert door.memory.principals == []


@given(
    st.integers(0, LATEST_MS),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=64).filter(str.isprintable),
)
def test_cursors_are_read_as_they_were_written(at_ms: int, last_id: str) -> None:
    assert read_cursor(cursor(at_ms, last_id), "before") == (at_ms, last_id)


@given(st.text())
def test_every_other_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidMessage):
        read_cursor(text, "before")


async def test_a_name_shows_in_the_message_only(door, client: httpx.AsyncClient, bearer) -> None:
    await client.post("/api/chat", json={"content": "hi"}, headers=bearer())

    kept = next(iter(door.inbox.kept.values()))
    assert kept.conversation_name == "default"
    assert await door.inbox.find(DEFAULT, kept.message_id, deadline=Deadline.after(1)) == kept
