"""Where others read along, so that strangers are told no code there."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from services.gateway.tests.platforms import (
    dingtalk,
    discord,
    feishu,
    slack,
    telegram,
    wechat,
    wecom,
)
from services.gateway.tests.platforms.samples import NOW, Samples, adapter_of


def slash(channel: str) -> bytes:
    url = "https://hooks.slack.com/commands/T1/1/x"
    fields = {"command": "/ask", "text": "hi", "user_id": "U1", "channel_id": channel}
    return urlencode({**fields, "trigger_id": "1.2", "response_url": url}).encode()


CASES: dict[str, tuple[Samples, bytes, bool]] = {
    "telegram, private": (telegram.SAMPLES, telegram.message(), False),
    "telegram, group": (telegram.SAMPLES, telegram.message(chat=telegram.GROUP), True),
    "telegram, kind of chat unknown": (telegram.SAMPLES, telegram.message(chat={"id": 1}), True),
    "slack, direct": (slack.SAMPLES, slack.payload(channel="D1"), False),
    "slack, channel": (slack.SAMPLES, slack.payload(channel="C1"), True),
    "slack, command that only its sender sees": (slack.SAMPLES, slash("C1"), False),
    "discord, server": (discord.SAMPLES, discord.payload(), True),
    "discord, direct": (
        discord.SAMPLES,
        discord.payload(context=1, member=None, user={"id": discord.SENDER}),
        False,
    ),
    "discord, direct, as older interactions tell it": (
        discord.SAMPLES,
        discord.payload(member=None, user={"id": discord.SENDER}),
        False,
    ),
    "discord, between others": (
        discord.SAMPLES,
        discord.payload(context=2, member=None, user={"id": discord.SENDER}),
        True,
    ),
    "telegram, button in private": (telegram.SAMPLES, telegram.pressed("/deny K7Q2M9XW"), False),
    "slack, button in a channel": (slack.SAMPLES, slack.pressed("/deny K7Q2M9XW"), True),
    "feishu, button wherever": (feishu.SAMPLES, feishu.pressed("/deny K7Q2M9XW"), True),
    "feishu, group": (feishu.SAMPLES, feishu.event(), True),
    "feishu, direct": (feishu.SAMPLES, feishu.event(chat_type="p2p"), False),
    "dingtalk, group": (dingtalk.SAMPLES, dingtalk.message(), True),
    "dingtalk, direct": (dingtalk.SAMPLES, dingtalk.message(conversationType="1"), False),
    "dingtalk, kind of chat unknown": (
        dingtalk.SAMPLES,
        dingtalk.message(conversationType=...),
        True,
    ),
    "wechat, a follower and the account": (wechat.SAMPLES, wechat.message(), False),
    "wecom, a member and the app": (wecom.SAMPLES, wecom.message(), False),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_group_is_told_from_a_conversation_with_one_person(
    case: tuple[Samples, bytes, bool], tmp_path: Path
) -> None:
    samples, body, is_group = case
    adapter: Any = adapter_of(samples, tmp_path)

    (message,) = adapter.read(adapter.verify(samples.request(body, NOW), NOW)).messages

    assert message.in_group is is_group
