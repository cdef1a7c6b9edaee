"""A user's own conversations over HTTP, and requests that are repeated under a key."""

from __future__ import annotations

from urllib.parse import quote

import httpx
import pytest

from tests.integration.system import System, until

NAME = "Reise / 旅行 100%"
SCOPES = ("chat", "memory:read", "memory:write")


@pytest.fixture
def ada(system: System) -> httpx.Client:
    headers = {"Authorization": f"Bearer {system.token('conversations-ada', *SCOPES)}"}
    with httpx.Client(base_url=system.url, headers=headers, timeout=60, trust_env=False) as client:
        yield client


def test_a_conversation_is_listed_read_and_erased_under_its_name(
    system: System, ada: httpx.Client
) -> None:
    asked = {"content": "My bicycle is red.", "conversation_id": NAME}
    answer = ada.post("/api/chat", json=asked)
    assert answer.status_code == 200, answer.text
    path = f"/api/conversations/{quote(NAME, safe='')}"

    def noted() -> list[dict[str, object]]:
        return ada.get(f"{path}/messages").json().get("messages", [])[1:]

    until(noted, 20, "the lines of the conversation")
    listed = ada.get("/api/conversations").json()["conversations"]
    said = ada.get(f"{path}/messages").json()
    bob = {"Authorization": f"Bearer {system.token('conversations-bob', *SCOPES)}"}
    others = system.http.get(f"{path}/messages", headers=bob)
    erased = ada.delete(path)

    assert [each["conversation_id"] for each in listed] == [NAME]
    assert listed[0]["messages"] == len(said["messages"])
    assert [line["role"] for line in said["messages"]][:2] == ["user", "assistant"]
    assert said["messages"][0]["content"] == "My bicycle is red."
    assert said["messages"][1]["content"] == answer.json()["content"]
    assert others.status_code == 404
    assert erased.status_code == 204
    assert ada.get(f"{path}/messages").status_code == 404
    assert ada.get("/api/conversations").json() == {"conversations": [], "next": None}


def test_a_question_under_a_key_is_asked_once(system: System, ada: httpx.Client) -> None:
    key = {"Idempotency-Key": "order-7"}
    first = ada.post("/api/chat", json={"content": "Count to three."}, headers=key)
    before = system.count("INBOUND")
    again = ada.post("/api/chat", json={"content": "Count to three."}, headers=key)
    other = ada.post("/api/chat", json={"content": "Count to four."}, headers=key)

    assert first.status_code == 200, first.text
    assert again.json() == first.json()
    assert system.count("INBOUND") == before
    assert other.status_code == 409
    assert other.json()["code"] == "idempotency_key_reused"
