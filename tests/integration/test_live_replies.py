"""Replies on their way to chat platforms, with gateways that are killed; the assistant is played.

Nothing here needs a model: the test itself writes deltas and stores replies, as the assistant.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator

import pytest

from clawdbot.runtime.bus import Bus
from clawdbot.runtime.connection import connected
from clawdbot.runtime.testing import free_port
from clawdbot.schema import subjects
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.messages import (
    Delta,
    DeltaEnd,
    InboundMessage,
    OutboundMessage,
    ReplyKind,
)
from clawdbot.schema.streams import INBOUND
from tests.integration.chat_doubles import SlackAPI, TelegramAPI
from tests.integration.system import Service, System, until

BOT_TOKEN = "123456789:AAH-abcdefghijklmnopqrstuvwxyz012345"
WEBHOOK_SECRET = "a-secret-token-of-ours"
SIGNING_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
LONG = "The answer is long. " * 250
"""Two parts on Telegram and on Slack."""


@pytest.fixture
def telegram() -> Iterator[TelegramAPI]:
    with TelegramAPI() as running:
        yield running
        running.held.clear()


@pytest.fixture
def slack() -> Iterator[SlackAPI]:
    with SlackAPI() as running:
        yield running
        running.held.clear()


class Stage:
    """Gateways, and whoever speaks with them on both sides."""

    def __init__(self, system: System, telegram: TelegramAPI, slack: SlackAPI) -> None:
        self.system = system
        self.telegram = telegram
        self.slack = slack

    def add_gateway(self) -> Service:
        gateway = self.system.start("gateway", CLAWDBOT_APP__PORT=str(free_port()))
        gateway.wait_ready()
        return gateway

    def says_on_telegram(self, text: str, chat: int = 42) -> InboundMessage:
        number = time.monotonic_ns()
        said = {
            "message_id": 5,
            "date": int(time.time()),
            "chat": {"id": chat, "type": "private"},
            "from": {"id": chat, "is_bot": False, "first_name": "Ann"},
            "text": text,
        }
        update = {"update_id": number, "message": said}
        headers = {"X-Telegram-Bot-Api-Secret-Token": WEBHOOK_SECRET}
        answer = self.system.http.post("/webhooks/telegram", json=update, headers=headers)
        assert answer.status_code == 200, answer.text
        return self._kept(text)

    def says_on_slack(self, text: str, channel: str = "C1") -> InboundMessage:
        event = {
            "type": "message",
            "channel": channel,
            "channel_type": "im",
            "user": "U1",
            "ts": f"{time.time():.6f}",
            "text": text,
        }
        envelope = {"type": "event_callback", "event_id": text, "team_id": "T1", "event": event}
        body, stamp = json.dumps(envelope).encode(), str(int(time.time()))
        signed = b"v0:" + stamp.encode() + b":" + body
        digest = hmac.new(SIGNING_SECRET.encode(), signed, hashlib.sha256).hexdigest()
        headers = {
            "X-Slack-Request-Timestamp": stamp,
            "X-Slack-Signature": f"v0={digest}",
            "Content-Type": "application/json",
        }
        answer = self.system.http.post("/webhooks/slack", content=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return self._kept(text)

    def _kept(self, text: str) -> InboundMessage:
        async def found() -> InboundMessage:
            async with self._assistant() as client:
                bus = Bus(client, "assistant")
                kept = await bus.read_last(
                    INBOUND, "claw.in.>", InboundMessage, deadline=Deadline.after(5)
                )
                assert kept is not None
                return kept.message

        message: InboundMessage = self.system.portal.call(found)
        assert message.content == text
        return message

    def writes(self, message: InboundMessage, index: int, text: str) -> None:
        """Broadcast a piece of the answer."""

        async def broadcast() -> None:
            async with self._assistant() as client:
                piece = Delta(message_id=message.message_id, index=index, text=text)
                bus = Bus(client, "assistant")
                await bus.broadcast(subjects.deltas(message.conversation_id), piece)
                await client.flush()

        self.system.portal.call(broadcast)

    def answers(
        self, message: InboundMessage, text: str, kind: ReplyKind = ReplyKind.REPLY
    ) -> None:
        """Store the reply and tell of it."""
        ids = {"channel", "tenant", "conversation_id", "message_id", "reply_to"}
        reply = OutboundMessage(
            **message.model_dump(include=ids),
            kind=kind,
            content=text,
            created_at_ms=int(time.time() * 1000),
        )

        async def store() -> None:
            async with self._assistant() as client:
                bus = Bus(client, "assistant")
                place = (message.channel, message.tenant, message.conversation_id)
                subject = subjects.outbound(*place, message.message_id, 0)
                await bus.store_once(subject, reply, deadline=Deadline.after(5))
                end = DeltaEnd(message_id=message.message_id, count=1)
                await bus.broadcast(subjects.deltas(message.conversation_id), end)
                await client.flush()

        self.system.portal.call(store)

    def _assistant(self):
        return connected("assistant", self.system.config, self.system.secrets)


@pytest.fixture
def stage(
    new_system: Callable[..., System], telegram: TelegramAPI, slack: SlackAPI
) -> Iterator[Stage]:
    system = new_system(
        platforms={
            "telegram": {"accounts": {"default": {"api_base": telegram.url, "senders": "open"}}},
            "slack": {"accounts": {"default": {"api_base": slack.url, "senders": "open"}}},
        }
    )
    for name, secret in (
        ("telegram_default_webhook_secret", WEBHOOK_SECRET),
        ("telegram_default_bot_token", BOT_TOKEN),
        ("slack_default_signing_secret", SIGNING_SECRET),
        ("slack_default_bot_token", "xoxb-a-token-that-is-long-enough-1234567890"),
    ):
        (system.secrets.directory / name).write_text(secret)
    with system.running("gateway") as running:
        yield Stage(running, telegram, slack)


def parts(texts: list[str]) -> str:
    """Return the text of a reply, however it was split."""
    return " ".join(" ".join(texts).split())


def test_a_growing_draft_becomes_the_answer_in_one_message(
    stage: Stage, telegram: TelegramAPI, slack: SlackAPI
) -> None:
    stage.add_gateway()
    on_telegram, on_slack = stage.says_on_telegram("tell me"), stage.says_on_slack("tell me too")
    until(lambda: telegram.typed, 10, "typing")

    for message in (on_telegram, on_slack):
        stage.writes(message, 0, "Once")
    until(lambda: telegram.texts("42") and slack.texts("C1"), 10, "both drafts")
    for message in (on_telegram, on_slack):
        stage.writes(message, 1, " upon")
    until(lambda: telegram.edits and slack.edits, 10, "both edits")
    stage.answers(on_telegram, "Once upon a time")
    stage.answers(on_slack, "That did not work", ReplyKind.ERROR)

    until(lambda: telegram.texts("42") == ["Once upon a time"], 20, "the answer")
    until(lambda: slack.texts("C1") == ["That did not work"], 20, "the error")
    for api, chat, last in (
        (telegram, "42", "Once upon a time"),
        (slack, "C1", "That did not work"),
    ):
        [(_, texts)] = api.edits.items()
        assert api.sends[chat] == 1
        assert texts == ["Once upon …", last]


def test_an_answer_that_is_ready_soon_is_sent_whole(stage: Stage, telegram: TelegramAPI) -> None:
    message = stage.says_on_telegram("be quick")

    stage.writes(message, 0, "Yes")
    stage.answers(message, LONG)

    until(lambda: parts(telegram.texts("42")) == LONG.strip(), 20, "the answer")
    assert (telegram.sends["42"], dict(telegram.edits)) == (2, {})


def test_a_gateway_killed_while_it_drafts_leaves_one_message(
    stage: Stage, telegram: TelegramAPI
) -> None:
    first = stage.system.find("gateway")
    stage.add_gateway()
    message = stage.says_on_telegram("tell me")
    stage.writes(message, 0, "Once")
    until(lambda: telegram.texts("42"), 10, "the draft")

    first.kill()
    stage.answers(message, LONG)

    until(lambda: parts(telegram.texts("42")) == LONG.strip(), 30, "the answer")
    assert telegram.sends["42"] == 2


@pytest.mark.parametrize("platform", ["telegram", "slack"])
def test_two_gateways_show_a_reply_once_when_the_first_dies(
    stage: Stage, telegram: TelegramAPI, slack: SlackAPI, platform: str
) -> None:
    api, chat = (telegram, "42") if platform == "telegram" else (slack, "C1")
    first = stage.system.find("gateway")
    says = stage.says_on_telegram if platform == "telegram" else stage.says_on_slack
    message = says("tell me")
    api.held.add(chat)
    stage.answers(message, LONG)
    assert api.reached.wait(20), "nothing was sent"

    # The platform took the first part, and the gateway dies before it hears so.
    first.kill()
    api.held.clear()
    stage.add_gateway()

    head = api.texts(chat)[0]
    expected = parts([head, LONG]) if platform == "telegram" else LONG.strip()
    until(lambda: parts(api.texts(chat)) == expected, 40, "the reply")
    # As documented: without a key one part shows twice, with one none does.
    assert len(api.texts(chat)) == (3 if platform == "telegram" else 2)
    assert api.sends[chat] == 3


def test_a_stalled_account_delays_no_other(
    stage: Stage, telegram: TelegramAPI, slack: SlackAPI
) -> None:
    slack.held.add("C1")
    stage.answers(stage.says_on_slack("are you there?"), "hidden")
    assert slack.reached.wait(20), "nothing was sent"

    stage.answers(stage.says_on_telegram("and you?"), "here")
    stage.answers(stage.says_on_slack("elsewhere?", channel="C2"), "here too")

    until(lambda: telegram.texts("42") == ["here"], 5, "the other account's reply")
    until(lambda: slack.texts("C2") == ["here too"], 5, "the other conversation's reply")
    assert slack.held
