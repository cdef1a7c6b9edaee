from __future__ import annotations

import pytest

from clawdbot.schema.errors import ErrorReply
from clawdbot.schema.messages import ReplyKind, ReplyMetadata


@pytest.fixture
def ask(client, sign):
    async def get(message_id: str, headers: dict[str, str] | None = None):
        path = f"/api/messages/{message_id}"
        signed = {"X-Signature": sign(path.encode())}
        return await client.get(path, headers=signed if headers is None else headers)

    return get


async def test_a_message_without_an_answer_is_queued(post_signed, payload, ask) -> None:
    record = (await post_signed(payload())).json()

    answer = await ask(record["message_id"])

    assert answer.status_code == 200
    assert answer.json() == {
        "message_id": record["message_id"],
        "state": "queued",
        "reply": None,
    }


async def test_an_answer_is_shown_with_its_metadata(
    door, post_signed, payload, ask, reply_to
) -> None:
    record = (await post_signed(payload())).json()
    message = door.inbox.kept[record["message_id"]]
    door.replies.stored[message.message_id] = reply_to(
        message, "hi there", metadata=ReplyMetadata(model="m/1")
    )

    answer = (await ask(record["message_id"])).json()

    assert answer["state"] == "answered"
    assert answer["reply"] == {
        "content": "hi there",
        "kind": "reply",
        "attachments": [],
        "metadata": {"model": "m/1", "recalled": [], "files_read": []},
        "timestamp": 1_700_000_000,
    }


async def test_an_error_reply_is_a_failed_message(
    door, post_signed, payload, ask, reply_to
) -> None:
    record = (await post_signed(payload())).json()
    message = door.inbox.kept[record["message_id"]]
    error = ErrorReply(code="unavailable", message="the model is not ready")
    door.replies.stored[message.message_id] = reply_to(
        message, "sorry", ReplyKind.ERROR, ReplyMetadata(error=error)
    )

    answer = (await ask(record["message_id"])).json()

    assert answer["state"] == "failed"
    assert answer["reply"]["metadata"]["error"]["message"] == "the model is not ready"


@pytest.mark.parametrize("message_id", ["unknown", "a.b", "*", "x" * 100])
async def test_an_unknown_id_is_404(ask, message_id: str) -> None:
    assert (await ask(message_id)).status_code == 404


async def test_without_signature_or_token_it_is_401(ask) -> None:
    assert (await ask("abc", {})).status_code == 401
    assert (await ask("abc", {"X-Signature": "a" * 64})).status_code == 401


async def test_the_signature_of_another_path_is_refused(post_signed, payload, ask, sign) -> None:
    record = (await post_signed(payload())).json()

    other = sign(b"/api/messages/other")

    assert (await ask(record["message_id"], {"X-Signature": other})).status_code == 401


async def test_a_token_reads_its_own_messages_and_an_admin_the_tenants(
    client, bearer, ask, post_signed, payload
) -> None:
    late = await client.post("/api/chat", json={"content": "hi"}, headers=bearer())
    mine = late.json()["status_url"].rsplit("/")[-1]
    hooked = (await post_signed(payload(sender_id="ada"))).json()["message_id"]

    statuses = {
        "mine": (await ask(mine, bearer())).status_code,
        "without chat": (await ask(mine, bearer(scopes=["memory:read"]))).status_code,
        "another user": (await ask(mine, bearer(sub="eve"))).status_code,
        "another tenant": (await ask(mine, bearer(tenant="other"))).status_code,
        "admin": (await ask(mine, bearer(sub="eve", scopes=["admin"]))).status_code,
        "foreign admin": (await ask(mine, bearer(tenant="other", scopes=["admin"]))).status_code,
        "same name, other channel": (await ask(hooked, bearer())).status_code,
        "admin, other channel": (await ask(hooked, bearer(scopes=["admin"]))).status_code,
        "webhook secret, api message": (await ask(mine)).status_code,
    }

    assert statuses == {
        "mine": 200,
        "without chat": 403,
        "another user": 404,
        "another tenant": 404,
        "admin": 200,
        "foreign admin": 404,
        "same name, other channel": 404,
        "admin, other channel": 200,
        "webhook secret, api message": 404,
    }
