"""The model `clawdbot`: a completion request that is a message to the assistant."""

from __future__ import annotations

import json

import httpx
import pytest

from clawdbot.gateway.adapters.chat import parse_chat
from clawdbot.gateway.adapters.jwt_auth import Identity
from clawdbot.gateway.adapters.openai_assistant import submission_of
from clawdbot.gateway.adapters.openai_requests import parse_completion
from clawdbot.gateway.adapters.sender_policies import sender_policies
from clawdbot.gateway.domain.messages import API, Reader
from clawdbot.gateway.handlers.messages import Accept
from clawdbot.schema.errors import ErrorReply, Overloaded, Unavailable
from clawdbot.schema.ids import IdKey, Tenant
from clawdbot.schema.messages import Delta, InboundMessage, ReplyKind, ReplyMetadata, Usage
from clawdbot.schema.principal import Scope

IDS = IdKey(b"0123456789abcdef")
KEY = {"Idempotency-Key": "k1"}
ADA = Identity(Tenant("default"), "ada", frozenset({Scope.CHAT}))


def body_of(**fields: object) -> dict[str, object]:
    return {"model": "clawdbot", "messages": [{"role": "user", "content": "hi"}], **fields}


def submitted(identity: Identity = ADA, headers: dict[str, str] | None = None, **fields: object):
    given = {"idempotency-key": "k1", **(headers or {})}
    return submission_of(parse_completion(body_of(**fields)), given, identity)


@pytest.fixture
def message(door) -> InboundMessage:
    """The message that asking under `KEY` makes, known in advance."""
    return Accept(door.inbox, IDS, door.patience).envelope(submitted()).message


@pytest.fixture
def post(client: httpx.AsyncClient, bearer):
    async def send(headers: dict[str, str] | None = None, **fields: object) -> httpx.Response:
        sent = {**bearer(), **(KEY if headers is None else headers)}
        return await client.post("/v1/chat/completions", json=body_of(**fields), headers=sent)

    return send


def texts_of(answer: httpx.Response) -> list[str]:
    lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")]
    choices = [choice for line in lines for choice in json.loads(line).get("choices", ())]
    return [choice["delta"].get("content") for choice in choices]


def deltas(message: InboundMessage, *pieces: tuple[int, str]) -> list[Delta]:
    return [Delta(message_id=message.message_id, index=at, text=text) for at, text in pieces]


async def test_the_reply_is_the_answer(door, post, message, reply_to) -> None:
    metadata = ReplyMetadata(
        model="toy/1", finish_reason="length", usage=Usage(prompt_tokens=9, completion_tokens=4)
    )
    door.replies.script = [reply_to(message, "hello ada", metadata=metadata)]

    answer = await post(temperature=0.1, max_tokens=5)

    record = answer.json()
    assert answer.status_code == 200
    assert record["model"] == "clawdbot"
    assert record["choices"][0]["message"]["content"] == "hello ada"
    assert record["choices"][0]["finish_reason"] == "length"
    assert record["usage"]["total_tokens"] == 13
    assert door.inbox.kept[message.message_id].sender_id == "ada"
    assert door.inference.asked == []


async def test_only_the_last_message_is_said(door, post, message, reply_to) -> None:
    door.replies.script = [reply_to(message, "hello")]
    history = [
        {"role": "system", "content": "Be rude."},
        {"role": "user", "content": "before"},
        {"role": "assistant", "content": "yes?"},
        {"role": "user", "content": "hi"},
    ]

    await post(messages=history)

    assert [kept.content for kept in door.inbox.kept.values()] == ["hi"]


async def test_it_streams_what_is_written(door, post, message, reply_to) -> None:
    pieces = deltas(message, (0, " hello"), (1, " "), (2, "ada"), (3, "\n"))
    door.replies.script = [*pieces, reply_to(message, "hello ada")]

    answer = await post(stream=True)

    assert texts_of(answer) == ["", "hello", " ada", None]
    assert answer.text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        ([], ["", "hello ada", None]),
        ([(0, "hello"), (2, "!!!")], ["", "hello", " ada", None]),
        ([(4, "da")], ["", "hello ada", None]),
        ([(0, "hello"), (0, "hel"), (1, "lo ada")], ["", "hello", " ada", None]),
    ],
    ids=["nothing heard", "a gap", "heard late", "written again alike"],
)
async def test_what_was_not_heard_follows_from_the_stored_answer(
    door, post, message, reply_to, pieces, shown
) -> None:
    door.replies.script = [*deltas(message, *pieces), reply_to(message, "hello ada")]

    answer = await post(stream=True)

    assert texts_of(answer) == shown


async def test_an_answer_written_anew_otherwise_ends_its_stream_as_an_error(
    door, post, message, reply_to
) -> None:
    door.replies.script = [*deltas(message, (0, "good day")), reply_to(message, "hello ada")]

    answer = await post(stream=True)

    assert texts_of(answer) == ["", "good day"]
    assert "written anew" in answer.text
    assert "[DONE]" not in answer.text


async def test_the_same_key_is_the_same_message(door, post, message, reply_to) -> None:
    door.replies.stored[message.message_id] = reply_to(message, "as before")

    first, second = await post(), await post()
    other = await post(messages=[{"role": "user", "content": "something else"}])

    assert first.json()["choices"] == second.json()["choices"]
    assert len(door.inbox.kept) == 1
    assert (other.status_code, other.json()["error"]["code"]) == (409, "id_reused")


@pytest.mark.parametrize(
    ("headers", "told"), [(KEY, None), ({}, "false")], ids=["with a key", "without"]
)
async def test_a_kept_message_is_not_sent_again_by_the_client_itself(
    door, post, headers: dict[str, str], told: str | None
) -> None:
    late = await post(headers)
    door.inbox.failure = Unavailable("no word from the broker")
    unclear = await post(headers)
    door.inbox.failure = Overloaded("too many of yours")
    refused = await post(headers)

    assert late.status_code == 504
    assert late.headers.get("x-should-retry") == told
    assert unclear.status_code == 503
    assert unclear.headers.get("x-should-retry") == told
    assert refused.status_code == 429
    assert "x-should-retry" not in refused.headers


async def test_an_error_reply_is_an_error(door, post, message, reply_to) -> None:
    told = ErrorReply(code="not_found", message="the chat model is missing", fix="make models")
    failed = reply_to(message, "sorry", ReplyKind.ERROR, ReplyMetadata(error=told))
    door.replies.stored[message.message_id] = failed

    whole, stream = await post(), await post(stream=True)

    assert whole.status_code == 404
    assert whole.json()["error"]["message"] == "the chat model is missing; make models"
    assert "the chat model is missing" in stream.text
    assert "[DONE]" not in stream.text


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [{"role": "assistant", "content": "hi"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": "  "}]}, "messages.0.content"),
        ({"user": "a\nb"}, "user"),
        ({"user": "ü" * 100}, "user"),
        ({"metadata": {"conversation_id": ""}}, "metadata.conversation_id"),
        ({"metadata": {"conversation_id": 5}}, "metadata.conversation_id"),
        ({"stop": "x"}, "stop"),
        ({"n": 2}, "n"),
    ],
)
async def test_what_cannot_be_done_is_refused_by_name(
    door, post, fields: dict[str, object], param: str
) -> None:
    answer = await post(**fields)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert door.inbox.kept == {}


def test_without_a_user_it_is_the_token_holders_own_conversation(door) -> None:
    accept = Accept(door.inbox, IDS, door.patience)
    chat = parse_chat(b'{"content": "hi", "conversation_id": "work"}', ADA)

    here = accept.envelope(submitted(metadata={"conversation_id": "work"}))
    there = accept.envelope(chat.submission)

    assert here.message.conversation_id == there.message.conversation_id
    assert here.principal == there.principal


def test_whoever_a_token_speaks_for_is_let_in() -> None:
    policies = sender_policies(
        [], webhook_tenant=Tenant("default"), webhook_may_link=False, api_may_link=False
    )

    for asked in (submitted(), submitted(user="bob")):
        assert policies[asked.channel].admits(asked.sender_id, None)


def test_a_user_approves_nothing_whatever_the_holder_may() -> None:
    holder = Identity(Tenant("default"), "ada", frozenset({Scope.CHAT, Scope.APPROVE}))

    assert Scope.APPROVE in submitted(holder).scopes
    assert submitted(holder, user="bob").scopes == {Scope.CHAT}


def test_the_header_names_the_conversation_too(door) -> None:
    by_header = submitted(headers={"x-conversation-id": "work"})
    by_metadata = submitted(metadata={"conversation_id": "work"})

    assert by_header.place == by_metadata.place != submitted().place


def test_a_user_is_nobody_else(door) -> None:
    accept = Accept(door.inbox, IDS, door.patience)
    eve = Identity(Tenant("default"), "eve", ADA.scopes)
    forged = Identity(Tenant("default"), '["ada", "bob"]', ADA.scopes)
    everybody = [
        submitted(),
        submitted(user="bob"),
        submitted(user="ada"),
        submitted(user="eve"),
        submitted(eve),
        submitted(eve, user="bob"),
        submitted(forged),
        submitted(Identity(Tenant("other"), "ada", ADA.scopes), user="bob"),
    ]

    envelopes = [accept.envelope(one) for one in everybody]

    assert len({(e.principal.tenant, e.principal.user) for e in envelopes}) == len(everybody)
    assert len({(e.message.tenant, e.message.conversation_id) for e in envelopes}) == len(everybody)
    assert [e.principal.tenant for e in envelopes[:-1]] == ["default"] * (len(everybody) - 1)
    holder_of_forged = Reader(Tenant("default"), channel=API, sender_id=forged.subject)
    assert not holder_of_forged.may_read(envelopes[1].message)
