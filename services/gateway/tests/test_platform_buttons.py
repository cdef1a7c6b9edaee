"""Approvals by button: what is shown says what a person could have typed, and is heard as that."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio

from clawdbot.gateway.adapters.platforms.addresses import SealedAddresses
from clawdbot.gateway.adapters.platforms.buttons import buttons_of
from clawdbot.gateway.adapters.platforms.connections import Connection, PlatformSender
from clawdbot.gateway.adapters.platforms.registry import names
from clawdbot.gateway.adapters.platforms.requests import RawRequest
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.schema.controls import ControlKind, ControlWord, control_of, said
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.executor import Approval, ApprovalState
from clawdbot.schema.messages import InboundMessage, OutboundMessage
from services.gateway.tests.platforms.samples import NOW, Samples, account_of, adapter_of

CODE = "K7Q2M9XW4T"
APPROVE, DENY = f"/approve {CODE}", f"/deny {CODE}"
QUESTION = f"This needs your confirmation:\nrm\n{APPROVE}\nor\n{DENY}"
APPROVAL = Approval(
    code=CODE,
    plan_hash="0" * 64,
    rendered="rm",
    state=ApprovalState.PENDING,
    expires_at_ms=1_700_000_120_000,
)


def samples_of(name: str) -> Samples:
    found = import_module(f"services.gateway.tests.platforms.{name}").SAMPLES
    assert isinstance(found, Samples)
    return found


@pytest.fixture(params=[name for name in names() if samples_of(name).pressed])
def samples(request: pytest.FixtureRequest) -> Samples:
    return samples_of(request.param)


class Chat:
    """A platform's account with its API, and the whole application behind it."""

    def __init__(self, door, samples: Samples, directory: Path) -> None:
        self._door, self._samples = door, samples
        self.requests: list[httpx.Request] = []
        self._client = httpx.AsyncClient(transport=httpx.MockTransport(self._play))
        adapter = adapter_of(samples, directory, self._client)
        self._connection = Connection(account_of(samples, directory), adapter)
        door.connections.append(self._connection)
        door.clock = lambda: NOW

    def _play(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self._samples.api(request)

    async def hear(self, body: bytes) -> httpx.Response:
        """Have the platform send us `body`."""
        raw: RawRequest = self._samples.request(body, NOW)
        transport = httpx.ASGITransport(self._door.app(), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await client.request(
                raw.method, urlsplit(raw.url).path, content=raw.body, headers=list(raw.headers)
            )

    @property
    def heard(self) -> list[InboundMessage]:
        return list(self._door.inbox.kept.values())

    async def send(self, reply: OutboundMessage, text: str, index: int = 0, count: int = 1) -> Any:
        """Send a part; return the last request's JSON."""
        sender = PlatformSender(self._connection, SealedAddresses(b"k" * 32))
        part = ReplyPart(reply, text, index, count, "idempotencykeyofthispart")
        await sender.send(part, deadline=Deadline.after(5))
        return json.loads(self.requests[-1].content)

    async def aclose(self) -> None:
        await self._client.aclose()


@pytest_asyncio.fixture
async def chat(door, samples: Samples, tmp_path: Path) -> AsyncIterator[Chat]:
    opened = Chat(door, samples, tmp_path)
    yield opened
    await opened.aclose()


def question(reply_to: Callable[..., OutboundMessage], message: InboundMessage) -> OutboundMessage:
    return reply_to(message, QUESTION).model_copy(update={"approval": APPROVAL})


def strings(value: Any) -> Iterator[str]:
    """Every string in a JSON value; JSON within a string is opened."""
    if isinstance(value, dict):
        for each in value.values():
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)
    elif isinstance(value, str):
        yield value
        if value.startswith("{"):
            yield from strings(json.loads(value))


@pytest.mark.parametrize("name", names())
def test_an_adapter_with_buttons_shows_what_a_press_looks_like(name: str, tmp_path) -> None:
    found = samples_of(name)

    assert adapter_of(found, tmp_path).capabilities.buttons == (found.pressed is not None)


async def test_a_question_has_a_button_for_each_answer(chat, samples, reply_to) -> None:
    await chat.hear(samples.message)

    sent = await chat.send(question(reply_to, chat.heard[0]), QUESTION)

    values = [text for text in strings(sent) if control_of(text)]
    assert values == [APPROVE, DENY]
    assert {"Approve", "Deny"} <= set(strings(sent))
    # Who sees no buttons can still read how to answer.
    assert any(QUESTION in text for text in strings(sent))


async def test_buttons_stand_below_the_last_part_alone(chat, samples, reply_to) -> None:
    await chat.hear(samples.message)
    asked = question(reply_to, chat.heard[0])

    first = await chat.send(asked, "one", 0, 2)
    last = await chat.send(asked, "two", 1, 2)

    assert not any(control_of(text) for text in strings(first))
    assert any(control_of(text) for text in strings(last))


async def test_an_answer_without_a_question_has_no_buttons(chat, samples, reply_to) -> None:
    await chat.hear(samples.message)

    sent = await chat.send(reply_to(chat.heard[0], QUESTION), QUESTION)

    assert not any(control_of(text) for text in strings(sent))


async def test_a_press_is_heard_as_its_word_in_the_same_conversation(chat, samples) -> None:
    await chat.hear(samples.message)
    answer = await chat.hear(samples.pressed(DENY))

    message, press = chat.heard
    assert answer.status_code == 200
    assert (press.content, press.sender_id) == (DENY, samples.sender_id)
    assert press.conversation_id == message.conversation_id
    assert press.message_id != message.message_id


async def test_a_press_that_arrives_twice_is_one(chat, samples) -> None:
    first = await chat.hear(samples.pressed(APPROVE))
    again = await chat.hear(samples.pressed(APPROVE))

    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert len(chat.heard) == 1


async def test_a_press_can_be_answered(chat, samples, reply_to) -> None:
    await chat.hear(samples.pressed(APPROVE))

    sent = await chat.send(reply_to(chat.heard[0], "done"), "done")

    assert "done" in "".join(strings(sent))


@pytest.mark.parametrize("value", ["", "yes", "/stop", "/approve", f"{APPROVE} {APPROVE}", "/help"])
async def test_a_button_of_somebody_else_says_nothing(chat, samples, value: str) -> None:
    answer = await chat.hear(samples.pressed(value))

    assert 200 <= answer.status_code < 300
    assert chat.heard == []


async def test_a_press_that_is_not_kept_is_not_acknowledged(door, chat, samples) -> None:
    acknowledged = await chat.hear(samples.pressed(APPROVE))
    door.inbox.kept.clear()
    door.inbox.failure = Unavailable("the broker is not reachable")

    refused = await chat.hear(samples.pressed(APPROVE))

    assert refused.status_code == samples.failure_status
    assert refused.content != acknowledged.content


def test_buttons_speak_the_language_of_the_question(reply_to, accepted_message) -> None:
    word = ControlWord(ControlKind.APPROVE, CODE)
    content = f"请回复\n{said(word, in_chinese=True)}"
    reply = reply_to(accepted_message, content).model_copy(update={"approval": APPROVAL})

    found = buttons_of(ReplyPart(reply, content, 0, 1, "key"))

    assert [button.label for button in found] == ["批准", "拒绝"]
    assert [button.value for button in found] == [f"/批准 {CODE}", f"/拒绝 {CODE}"]
    assert all(len(button.value.encode()) <= 64 for button in found)


@pytest.fixture
def accepted_message() -> InboundMessage:
    return InboundMessage(
        platform="slack",
        sender_id="u1",
        content="hi",
        timestamp=1,
        message_id="m1",
        tenant="default",
        conversation_id="c1",
        channel="slack",
        accepted_at_ms=1,
        deadline_ms=2,
    )


def slack_samples() -> Any:
    return import_module("services.gateway.tests.platforms.slack")


async def test_a_private_question_of_slack_is_answered_privately(door, tmp_path, reply_to) -> None:
    slack = slack_samples()
    chat = Chat(door, slack.SAMPLES, tmp_path)
    container = {"type": "message", "is_ephemeral": True, "message_ts": "1700.0002"}

    await chat.hear(slack.pressed(APPROVE, container=container, message=...))
    await chat.send(question(reply_to, chat.heard[0]), QUESTION)

    assert str(chat.requests[-1].url).startswith("https://hooks.slack.com/actions/")
    assert any(control_of(text) for text in strings(json.loads(chat.requests[-1].content)))
    await chat.aclose()


async def test_a_private_question_names_no_address_but_slacks(door, tmp_path) -> None:
    slack = slack_samples()
    chat = Chat(door, slack.SAMPLES, tmp_path)
    container = {"type": "message", "is_ephemeral": True}

    await chat.hear(
        slack.pressed(APPROVE, container=container, response_url="https://evil.example/x")
    )

    assert chat.heard == []
    await chat.aclose()


async def test_a_bot_of_telegrams_presses_in_vain(door, tmp_path) -> None:
    telegram = import_module("services.gateway.tests.platforms.telegram")
    chat = Chat(door, telegram.SAMPLES, tmp_path)

    await chat.hear(telegram.pressed(APPROVE, **{"from": {"id": 7, "is_bot": True}}))
    await chat.hear(telegram.pressed(APPROVE, message=None))

    assert chat.heard == []
    await chat.aclose()


async def test_discords_own_commands_are_heard_with_their_name(door, tmp_path) -> None:
    discord = import_module("services.gateway.tests.platforms.discord")
    chat = Chat(door, discord.SAMPLES, tmp_path)

    await chat.hear(discord.payload(discord.option("code", 3, CODE), data={"name": "approve"}))

    assert [message.content for message in chat.heard] == [APPROVE]
    await chat.aclose()
