from __future__ import annotations

from pathlib import Path

import pytest

from clawdbot.runtime.config import ConfigError, load_config
from clawdbot.runtime.provision import delivering_channels


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def test_each_account_that_is_switched_on_delivers_on_a_channel_of_its_own(tmp_path: Path) -> None:
    text = """
platforms:
  webhook: {callback_url: "http://127.0.0.1:1"}
  slack: {accounts: {default: {}, team_b: {tenant: acme, thread_replies: true}}}
  telegram: {}
  discord: {enabled: false}
"""
    config = load_config(written(tmp_path, text), {})

    assert delivering_channels(config) == ("webhook", "slack", "slack-team_b", "telegram")
    assert config.platforms.chat["slack"].accounts["team_b"].tenant == "acme"
    assert config.platforms.chat["slack"].accounts["team_b"].own == {"thread_replies": True}


def test_ids_of_senders_may_be_numbers(tmp_path: Path) -> None:
    text = "platforms: {telegram: {accounts: {default: {senders: allow_list, allowed: [42, x]}}}}"

    config = load_config(written(tmp_path, text), {})

    assert config.platforms.chat["telegram"].accounts["default"].allowed == ("42", "x")


def test_without_platforms_nothing_is_delivered(tmp_path: Path) -> None:
    assert delivering_channels(load_config(written(tmp_path, "app: {}"), {})) == ()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("slack: {enabeld: true}", "platforms.slack.enabeld"),
        ("slack: 3", "platforms.slack"),
        ("Slack-Bot: {}", "'Slack-Bot'"),
        ("slack: {accounts: {a-b: {}}}", "'a-b'"),
        (
            "slack: {accounts: {default: {tenant: 'a.b'}}}",
            "platforms.slack.accounts.default.tenant",
        ),
        ("webhook: {pth: /x}", "platforms.webhook.pth"),
        ("slack: {accounts: {default: {senders: pair}}}", "platforms.slack.accounts.default"),
        ("slack: {accounts: {default: {senders: allow_list}}}", "lets nobody in"),
        ("slack: {accounts: {default: {senders: open, allowed: [U1]}}}", "leave one of them out"),
    ],
)
def test_a_section_that_cannot_be_meant_is_refused(
    tmp_path: Path, section: str, message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(written(tmp_path, f"platforms:\n  {section}\n"), {})

    assert message in str(error.value)
