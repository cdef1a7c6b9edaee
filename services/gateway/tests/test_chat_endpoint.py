from __future__ import annotations

import json

import httpx
import pytest

from clawdbot.gateway.domain.messages import API, framed
from clawdbot.schema.errors import ErrorReply, Overloaded, Unavailable
from clawdbot.schema.ids import IdKey, MessageId
from clawdbot.schema.messages import (
    Citation,
    Delta,
    InboundMessage,
    ReplyKind,
    ReplyMetadata,
)
from clawdbot.schema.principal import Scope

IDS = IdKey(b"0123456789abcdef")


@pytest.fixture
def question(door, reply_to):
    """The message that asking {content: hi, message_id: q1} makes, known in advance."""
    from clawdbot.gateway.adapters.chat import parse_chat
    from clawdbot.gateway.adapters.jwt_auth import Identity
    from clawdbot.gateway.handlers.messages import Accept
    from clawdbot.schema.ids import Tenant

    identity = Identity(Tenant("default"), "ada", frozenset({Scope.CHAT}))
    chat = parse_chat(b'{"content": "hi", "message_id": "q1"}', identity)
    return Accept(door.inbox, IDS, door.patience).envelope(chat.submission).message


async def post(client: httpx.AsyncClient, headers: dict[str, str], **fields: object):
    body = {"content": "hi", "message_id": "q1", **fields}
    return await client.post("/api/chat", json=body, headers=headers)


def delta(message: InboundMessage, index: int, text: str) -> Delta:
    return Delta(message_id=message.message_id, index=index, text=text)


def events(answer: httpx.Response) -> list[tuple[str, dict[str, object]]]:
    found = []
    for block in answer.text.split("\n\n"):
        lines = block.split("\n")
        if lines[0].startswith("event: "):
            found.append((lines[0][7:], json.loads(lines[1].removeprefix("data: "))))
    return found


async def test_the_reply_is_the_answer(door, client, bearer, question, reply_to) -> None:
    citation = Citation(memory_id="m", content="a memory", score=0.5)
    reply = reply_to(question, "hello ada", metadata=ReplyMetadata(recalled=(citation,)))
    door.replies.script = [delta(question, 0, "hello "), reply]

    answer = await post(client, bearer())

    assert answer.status_code == 200
    assert answer.json() == {
        "message_id": question.message_id,
        "conversation_id": "default",
        "content": "hello ada",
        "attachments": [],
        "metadata": {
            "recalled": [{"memory_id": "m", "content": "a memory", "score": 0.5}],
            "files_read": [],
        },
    }
    assert door.inbox.kept[question.message_id].sender_id == "ada"
    assert door.replies.listeners == 0


async def test_a_repeated_question_gets_the_stored_answer(
    door, client, bearer, question, reply_to
) -> None:
    door.replies.stored[question.message_id] = reply_to(question, "as before")

    first = await post(client, bearer())
    second = await post(client, bearer())

    assert first.json() == second.json()
    assert second.json()["content"] == "as before"
    assert len(door.inbox.kept) == 1


async def test_another_question_under_a_used_id_is_a_conflict(
    door, client, bearer, question, reply_to
) -> None:
    door.replies.stored[question.message_id] = reply_to(question)
    await post(client, bearer())

    answer = await post(client, bearer(), content="something else")

    assert (answer.status_code, answer.json()["code"]) == (409, "id_reused")


async def test_two_users_may_use_the_same_ids(door, client, bearer, question, reply_to) -> None:
    door.replies.script = [reply_to(question)]

    await post(client, bearer())
    await post(client, bearer(sub="eve"))

    assert len({message.conversation_id for message in door.inbox.kept.values()}) == 2


async def test_words_about_other_messages_are_not_for_this_one(
    door, client, bearer, question, reply_to
) -> None:
    other = question.model_copy(update={"message_id": MessageId("other")})
    door.replies.script = [
        delta(other, 0, "no"),
        reply_to(other, "no"),
        delta(question, 0, "yes"),
        reply_to(question, "yes"),
    ]

    answer = await post(client, bearer(), stream=True)

    assert [name for name, _ in events(answer)] == ["accepted", "delta", "message"]
    assert "no" not in answer.text.split()


async def test_an_error_reply_is_a_problem_with_its_own_status(
    door, client, bearer, question, reply_to
) -> None:
    error = ErrorReply(
        code="unavailable", message="no model", fix="run make models", trace_id="f" * 32
    )
    door.replies.script = [reply_to(question, "sorry", ReplyKind.ERROR, ReplyMetadata(error=error))]

    answer = await post(client, bearer())

    problem = answer.json()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert (problem["detail"], problem["fix"]) == ("no model", "run make models")
    assert problem["trace_id"] == "f" * 32
    assert problem["message_id"] == question.message_id


async def test_no_answer_in_time_is_504_with_where_to_ask(door, client, bearer, question) -> None:
    answer = await post(client, bearer())

    assert answer.status_code == 504
    assert answer.json()["status_url"] == f"/api/messages/{question.message_id}"
    assert answer.json()["message_id"] == question.message_id
    assert question.message_id in door.inbox.kept


async def test_a_reply_that_was_not_heard_is_found_where_it_is_stored(
    door, client, bearer, question, reply_to
) -> None:
    door.replies.script = [Overloaded("messages were lost")]
    stored = reply_to(question, "found")
    heard = door.replies.answered
    asked = 0

    async def later(message, *, deadline):
        nonlocal asked
        asked += 1
        return stored if asked > 1 else await heard(message, deadline=deadline)

    door.replies.answered = later

    answer = await post(client, bearer())

    assert answer.json()["content"] == "found"


@pytest.mark.parametrize("asks_by", ["field", "header"])
async def test_a_stream_shows_the_answer_while_it_is_written(
    door, client, bearer, question, reply_to, asks_by: str
) -> None:
    door.replies.script = [
        delta(question, 0, "你好，"),
        delta(question, 1, "line\nbreak"),
        reply_to(question, "你好，line\nbreak"),
    ]
    headers = {**bearer(), "Accept": "text/event-stream" if asks_by == "header" else "*/*"}

    answer = await post(client, headers, stream=asks_by == "field")

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert events(answer) == [
        (
            "accepted",
            {
                "message_id": question.message_id,
                "conversation_id": "default",
                "status_url": f"/api/messages/{question.message_id}",
            },
        ),
        ("delta", {"index": 0, "text": "你好，"}),
        ("delta", {"index": 1, "text": "line\nbreak"}),
        (
            "message",
            {
                "message_id": question.message_id,
                "conversation_id": "default",
                "content": "你好，line\nbreak",
                "attachments": [],
                "metadata": {"recalled": [], "files_read": []},
            },
        ),
    ]


async def test_a_stream_that_waits_sends_comments_and_ends_with_an_error(client, bearer) -> None:
    answer = await post(client, bearer(), stream=True)

    assert ": waiting\n\n" in answer.text
    name, problem = events(answer)[-1]
    assert (name, problem["status"]) == ("error", 504)


async def test_a_failure_before_the_stream_begins_is_a_plain_status(door, client, bearer) -> None:
    door.inbox.failure = Unavailable("the broker is not reachable")

    answer = await post(client, bearer(), stream=True)

    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert door.replies.listeners == 0


async def test_listening_ends_when_the_client_leaves(door, bearer, question) -> None:
    door.replies.script = [delta(question, index, "x") for index in range(1000)]
    body = json.dumps({"content": "hi", "message_id": "q1", "stream": True}).encode()
    incoming = [
        {"type": "http.request", "body": body, "more_body": False},
        {"type": "http.disconnect"},
    ]
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return incoming.pop(0) if len(incoming) > 1 else incoming[0]

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    authorization = bearer()["Authorization"].encode()
    await door.app()(
        {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/api/chat",
            "raw_path": b"/api/chat",
            "root_path": "",
            "query_string": b"",
            "headers": [(b"authorization", authorization)],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8000),
        },
        receive,
        send,
    )

    assert len(sent) < 5
    assert door.replies.listeners == 0
    with door.gate.enter(), door.gate.enter(), door.gate.enter(), door.gate.enter():
        pass


async def test_chat_needs_a_token_with_its_scope(door, client, bearer) -> None:
    nobody = await post(client, {})
    reader = await post(client, bearer(scopes=["memory:read"]))

    assert (nobody.status_code, reader.status_code) == (401, 403)
    assert nobody.headers["www-authenticate"].startswith("Bearer")
    assert not door.inbox.kept


async def test_tenant_and_user_come_from_the_token_alone(
    door, client, bearer, question, reply_to
) -> None:
    door.replies.script = [reply_to(question)]

    await post(client, bearer(), tenant="other", sender_id="eve", platform="slack")

    kept = door.inbox.kept[question.message_id]
    assert (kept.tenant, kept.sender_id, kept.platform) == ("default", "ada", "api")
    assert door.inbox.principals[question.message_id].user == IDS.user(API, framed(API, "ada"))


async def test_what_a_token_approves_and_administers_does_not_travel(
    door, client, bearer, question, reply_to
) -> None:
    door.replies.script = [reply_to(question)]

    await post(client, bearer(scopes=["chat", "memory:read", "approve", "admin"]))

    scopes = door.inbox.principals[question.message_id].scopes
    assert scopes == {Scope.CHAT, Scope.MEMORY_READ}


async def test_a_broker_that_does_not_answer_while_a_chat_waits_does_not_end_it(
    door, client, bearer, question, reply_to
) -> None:
    looks = [Unavailable("the broker is not reachable"), None, Unavailable("still not")]

    async def flaky(message, *, deadline):
        look = looks.pop(0) if looks else reply_to(question, "found")
        if isinstance(look, Unavailable):
            raise look
        return look

    door.replies.answered = flaky

    answer = await post(client, bearer())

    assert (answer.status_code, answer.json()["content"]) == (200, "found")


@pytest.mark.parametrize("streams", [False, True])
async def test_what_fails_after_the_message_is_kept_says_where_to_ask(
    door, client, bearer, question, streams: bool
) -> None:
    door.replies.script = [Unavailable("the broker is gone")]

    answer = await post(client, bearer(), stream=streams)

    problem = events(answer)[-1][1] if streams else answer.json()
    assert problem["status"] == 503
    assert problem["message_id"] == question.message_id
    assert problem["status_url"] == f"/api/messages/{question.message_id}"


async def test_what_was_perhaps_kept_is_kept_once_when_sent_again_as_told(
    door, client, bearer
) -> None:
    keep = door.inbox.keep

    async def keeps_without_saying_so(envelope, *, deadline):
        await keep(envelope, deadline=deadline)
        raise Unavailable("the broker is not reachable")

    door.inbox.keep = keeps_without_saying_so
    refused = await post(client, bearer(), message_id="ours", content="first")
    unnamed = await client.post("/api/chat", json={"content": "hi"}, headers=bearer())
    door.inbox.keep = keep
    again = unnamed.json()["message_id"]
    await post(client, bearer(), message_id=again)

    assert (refused.status_code, refused.json()["message_id"]) == (503, "ours")
    assert "this message_id" in unnamed.json()["fix"]
    assert len(door.inbox.kept) == 2


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"content": ...}, "content"),
        ({"content": "  "}, "content"),
        ({"stream": "yes"}, "stream"),
        ({"conversation_id": ""}, "conversation_id"),
        ({"conversation_id": None}, "conversation_id"),
    ],
)
async def test_wrong_fields_are_named(client, bearer, fields, field: str) -> None:
    body = {name: value for name, value in {"content": "hi", **fields}.items() if value is not ...}

    answer = await client.post("/api/chat", json=body, headers=bearer())

    assert (answer.status_code, answer.json()["field"]) == (422, field)


async def test_too_many_waiting_chats_are_429(door, client, bearer) -> None:
    with door.gate.enter(), door.gate.enter(), door.gate.enter(), door.gate.enter():
        answer = await post(client, bearer())

    assert answer.status_code == 429
