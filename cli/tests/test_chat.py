from __future__ import annotations

import io
import json
from collections.abc import Callable

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from clawdbot.cli.chat import Chat
from clawdbot.cli.events import Event, parse_events
from clawdbot.cli.failures import Failure

OBJECTS = st.dictionaries(st.text(), st.text() | st.integers())


def sse(*events: tuple[str, dict[str, object]]) -> bytes:
    return b"".join(
        f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
        for name, data in events
    )


def talk(answer: Callable[[httpx.Request], httpx.Response], *questions: str) -> str:
    written = io.StringIO()
    transport = httpx.MockTransport(answer)
    with httpx.Client(base_url="http://gateway", transport=transport) as client:
        Chat(client, lambda: "a.token", Console(file=written, width=20)).converse(questions)
    return written.getvalue()


def says(*events: tuple[str, dict[str, object]]) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _request: httpx.Response(200, content=sse(*events))


@given(st.lists(st.tuples(st.sampled_from(["delta", "message"]), OBJECTS), max_size=5))
def test_events_are_read_as_they_were_written(events: list[tuple[str, dict[str, object]]]) -> None:
    # JSON escapes what a line reader would take for the end of a line.
    lines = "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events)

    assert list(parse_events(lines.split("\n"))) == [Event(*event) for event in events]


def test_heartbeats_and_nonsense_are_passed_over() -> None:
    lines = [": waiting", "", "data: nonsense", "", "data: [1]", "", "id: 7", "", "data: {}", ""]

    assert list(parse_events(lines)) == [Event("message", {})]


def test_an_answer_is_printed_while_it_is_written_and_only_once() -> None:
    text = talk(
        says(
            ("accepted", {"message_id": "m"}),
            ("delta", {"index": 0, "text": "Hello "}),
            ("delta", {"index": 1, "text": "there"}),
            ("message", {"content": "Hello there", "metadata": {}}),
        ),
        "Hi",
    )

    assert text == "Hello there\n"


def test_what_was_missed_comes_with_the_whole_answer() -> None:
    text = talk(
        says(
            ("delta", {"index": 3, "text": "the end"}),
            ("message", {"content": "All of it to the end", "metadata": {}}),
        ),
        "Hi",
    )

    assert text.endswith("\nAll of it to the end\n")


def test_what_was_remembered_is_shown() -> None:
    recalled = [{"memory_id": "1", "content": "likes tuna", "score": 0.8123}]

    text = talk(says(("message", {"content": "Tuna.", "metadata": {"recalled": recalled}})), "?")

    assert "remembered (0.81): likes tuna" in text


def test_an_answer_cannot_steer_the_terminal() -> None:
    text = talk(says(("message", {"content": "\x1b]0;owned\x07[red]x", "metadata": {}})), "?")

    assert "\x1b" not in text
    assert "[red]x" in text


def test_an_error_does_not_end_the_conversation() -> None:
    problem = {"title": "Overloaded", "detail": "too much to do", "fix": "try again"}

    text = talk(lambda _request: httpx.Response(429, json=problem), "one", "  ", "two")

    assert text == "too much to do\ntry again\n" * 2


def test_each_question_carries_a_token_and_asks_for_a_stream() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, content=b"")

    talk(answer, "你好")

    assert asked[0].url.path == "/api/chat"
    assert asked[0].headers["authorization"] == "Bearer a.token"
    assert json.loads(asked[0].content) == {
        "content": "你好",
        "conversation_id": "terminal",
        "stream": True,
    }


def test_a_gateway_that_is_not_there_is_said_so() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(Failure, match="no gateway at http://gateway"):
        talk(refuse, "Hi")


def test_a_token_that_is_not_believed_names_the_secret() -> None:
    with pytest.raises(Failure) as refused:
        talk(lambda _request: httpx.Response(401, json={"detail": "no"}), "Hi")

    assert "jwt_secret" in (refused.value.fix or "")
