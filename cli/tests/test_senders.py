"""How senders are named at the terminal, and what is printed of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from clawdbot.cli.failures import Failure
from clawdbot.cli.senders import _known, sender_name, shown
from clawdbot.schema.ids import Channel, Tenant
from clawdbot.schema.senders import Link, Sender, SenderName


def sender(channel: str, sender_id: str, platform: str | None = None, **fields: object) -> Sender:
    known = {
        "tenant": "default",
        "channel": channel,
        "platform": platform or channel.partition("-")[0],
        "sender_id": sender_id,
        "user": f"user-of-{sender_id}"[:64],
    }
    return Sender.model_validate(known | fields)


@pytest.mark.parametrize(
    ("text", "channel", "platform", "sender_id"),
    [
        ("telegram:42", "telegram", None, "42"),
        ("slack-team_b:U1", "slack-team_b", None, "U1"),
        ("api:@ada:example.org", "api", None, "@ada:example.org"),
        ("webhook/line:a/b", "webhook", "line", "a/b"),
    ],
)
def test_a_sender_is_named_by_channel_and_id(
    text: str, channel: str, platform: str | None, sender_id: str
) -> None:
    assert sender_name(text) == SenderName(
        channel=Channel(channel), platform=platform, sender_id=sender_id
    )
    assert sender_name(text, "acme").tenant == Tenant("acme")


@pytest.mark.parametrize("text", ["", "42", ":42", "telegram:", "tele gram:42", "a/B:1", "a//b:1"])
def test_what_names_nobody_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(Failure, match="such as telegram:123456"):
        sender_name(text)


def test_a_tenant_that_cannot_be_one_is_refused() -> None:
    with pytest.raises(Failure, match=r"tenant 'a\.b'"):
        sender_name("api:ada", "a.b")


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cf"]), min_size=1))
def test_what_is_shown_of_a_sender_names_them(sender_id: str) -> None:
    sender_id = sender_id[:256]
    for one in (sender("telegram-b", sender_id), sender("webhook", sender_id, "line")):
        named = sender_name(shown(one))

        assert (named.channel, named.sender_id) == (one.channel, sender_id)
        assert named.platform in {None, one.platform}


def test_no_id_can_move_the_cursor_or_write_in_colour() -> None:
    console = Console(width=120, record=True)

    console.print(_known([sender("telegram", "\x1b[2J[red]42")]))

    assert "[2J[red]42" in console.export_text()
    assert "\x1b" not in shown(sender("telegram", "\x1b[2J"))


def test_the_list_says_as_whom_a_sender_speaks() -> None:
    link = Link(user="user-of-1", group="g")
    console = Console(width=120, record=True)

    console.print(_known([sender("telegram", "1", link=link), sender("slack", "2", link=link)]))

    first, second = [line for line in console.export_text().splitlines() if ":" in line]
    assert "their first sender" in first
    assert "as telegram:1" in second
