from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.adapters.idempotency import read_key
from clawdbot.gateway.ports.records import InMemoryRecords, KeptRecord
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import DeadlineExceeded, InvalidMessage, Unavailable
from clawdbot.schema.wire import Wire

Bearer = Callable[..., dict[str, str]]
QUESTION = json.dumps({"content": "hello"}).encode()


@pytest.fixture
def ask(client: httpx.AsyncClient, bearer: Bearer):
    async def ask(body: bytes = QUESTION, key: str = "k1", **claims: object) -> httpx.Response:
        headers = {**bearer(**claims), "Idempotency-Key": key}
        return await client.post("/api/chat", content=body, headers=headers)

    return ask


async def test_the_same_request_under_a_key_is_one_message(ask, door) -> None:
    first = await ask()
    again = await ask()

    assert first.json()["message_id"] == again.json()["message_id"]
    assert len(door.inbox.kept) == 1


async def test_another_body_under_the_same_key_is_a_conflict_that_names_the_header(
    ask, door
) -> None:
    await ask()

    refused = await ask(json.dumps({"content": "other"}).encode())

    assert refused.status_code == 409
    assert refused.json()["code"] == "idempotency_key_reused"
    assert refused.json()["field"] == "Idempotency-Key"
    assert len(door.inbox.kept) == 1


async def test_two_users_of_the_same_key_have_a_message_each(ask, door) -> None:
    await ask(sub="ada")
    await ask(sub="bob")
    await ask(sub="ada", tenant="other")

    assert len(door.inbox.kept) == 3


async def test_a_forgotten_key_names_another_message(ask, door) -> None:
    await ask()
    door.claims.kept.clear()

    await ask(json.dumps({"content": "the day after"}).encode())

    assert sorted(kept.content for kept in door.inbox.kept.values()) == ["hello", "the day after"]


async def test_what_was_not_stored_for_certain_is_stored_once_under_its_key(ask, door) -> None:
    door.inbox.failure = Unavailable("broker away")
    unsure = await ask()
    door.inbox.failure = None

    await ask()
    await ask()

    assert unsure.status_code == 503
    assert "Idempotency-Key" in unsure.json()["fix"]
    assert "message_id" not in unsure.json()
    assert len(door.inbox.kept) == 1


async def test_a_webhook_has_keys_too(post_signed, payload, door) -> None:
    first = await post_signed(payload(), **{"Idempotency-Key": "k1"})
    again = await post_signed(payload(), **{"Idempotency-Key": "k1"})
    other = payload(content="other")
    refused = await post_signed(other, **{"Idempotency-Key": "k1"})
    kept = await post_signed(other, **{"Idempotency-Key": "k2"})

    assert [each.status_code for each in (first, again, refused, kept)] == [202, 200, 409, 202]
    assert first.json() == again.json()
    assert len(door.inbox.kept) == 2


async def test_a_captured_webhook_is_no_other_message_under_another_key(
    post_signed, payload, door
) -> None:
    first = await post_signed(payload(), **{"Idempotency-Key": "k1"})
    door.claims.kept.clear()

    replayed = [await post_signed(payload(), **{"Idempotency-Key": k}) for k in ("k1", "k2", "k3")]
    bare = await post_signed(payload())

    assert [each.status_code for each in (*replayed, bare)] == [200, 200, 200, 200]
    assert {each.json()["message_id"] for each in replayed} == {first.json()["message_id"]}
    assert len(door.inbox.kept) == 1


@pytest.mark.parametrize("path", ["/api/chat", "/api/messages"])
async def test_a_key_beside_a_message_id_is_refused(
    path, client, bearer, post_signed, payload, door
) -> None:
    body, key = payload(message_id="m1"), {"Idempotency-Key": "k1"}

    if path == "/api/chat":
        refused = await client.post(path, content=body, headers={**bearer(), **key})
    else:
        refused = await post_signed(body, **key)

    assert refused.status_code == 422
    assert "Idempotency-Key" in refused.json()["detail"]
    assert "'message_id'" in refused.json()["detail"]
    assert not door.claims.kept


async def test_a_body_that_cannot_be_used_claims_nothing(ask, door) -> None:
    refused = await ask(b"{}")

    assert refused.status_code == 422
    assert not door.claims.kept


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "käse"])
async def test_a_key_of_other_characters_is_refused(key, client, bearer, door) -> None:
    headers = [*bearer().items(), ("Idempotency-Key", key.encode("latin-1"))]

    refused = await client.post("/api/chat", content=QUESTION, headers=headers)

    assert refused.status_code == 422
    assert refused.json()["field"] == "Idempotency-Key"
    assert not door.inbox.kept


class Away(InMemoryRecords[Wire]):
    """A broker that does not answer."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def create(self, key: str, value: Wire, *, deadline: Deadline) -> int | None:
        """Fail."""
        raise self.error


@pytest.mark.parametrize("error", [Unavailable("away"), DeadlineExceeded("late")])
async def test_without_the_broker_nothing_is_kept_under_a_key(error, door, bearer) -> None:
    door.claims = Away(error)
    door.screens.clear()
    door.__post_init__()

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(door.app()), base_url="http://gateway"
    ) as client:
        headers = {**bearer(), "Idempotency-Key": "k1"}
        failed = await client.post("/api/chat", content=QUESTION, headers=headers)
        kept = await client.post("/api/chat", content=QUESTION, headers=bearer())

    assert failed.status_code == 503
    assert kept.status_code == 504, "kept, and nobody answers it"
    assert len(door.inbox.kept) == 1


async def test_a_claim_that_is_forgotten_while_it_is_read_says_to_send_again(ask, door) -> None:
    await ask()

    async def forget(key: str, *, deadline: Deadline) -> KeptRecord[Wire] | None:
        del key, deadline

    door.claims.get = forget
    failed = await ask()

    assert failed.status_code == 503


def test_no_header_is_no_key_and_two_are_refused() -> None:
    assert read_key([(b"accept", b"*/*")]) is None
    with pytest.raises(InvalidMessage):
        read_key([(b"idempotency-key", b"a"), (b"idempotency-key", b"a")])


@given(st.binary(max_size=300))
def test_every_header_is_a_key_or_refused(value: bytes) -> None:
    try:
        key = read_key([(b"idempotency-key", value)])
    except InvalidMessage:
        return

    assert key is not None
    assert key.encode() == value
    assert key.isprintable()
