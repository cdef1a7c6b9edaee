from __future__ import annotations

import pytest
from pydantic import ValidationError

from clawdbot.gateway.adapters.rate_settings import limits_of
from clawdbot.gateway.domain.buckets import Limit
from clawdbot.gateway.domain.rates import Kind
from clawdbot.gateway.settings import Settings
from clawdbot.runtime.config import Config, ConfigError
from clawdbot.runtime.config_sections import RateSettings


def test_the_defaults_are_usable() -> None:
    settings = Settings.of(Config())

    assert (settings.port, settings.messages_path) == (8000, "/api/messages")
    assert settings.callback_url is None


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"platforms": {"webhook": {"path": "/ws"}}}, "platforms.webhook.path"),
        ({"platforms": {"webhook": {"path": "//"}}}, "platforms.webhook.path"),
        ({"platforms": {"webhook": {"path": "/api/chat"}}}, "platforms.webhook.path"),
        ({"platforms": {"webhook": {"path": "/webhooks/mine"}}}, "platforms.webhook.path"),
        (
            {"platforms": {"webhook": {"callback_url": "ftp://x"}}},
            "platforms.webhook.callback_url",
        ),
        *(
            ({"platforms": {"webhook": {"path": path}}}, "platforms.webhook.path")
            for path in ("/healthz", "/readyz/", "/startupz", "/metrics")
        ),
        (
            {"platforms": {"webhook": {"max_age_s": 3 * 86_400 - 3599}}},
            "platforms.webhook.max_age_s",
        ),
        ({"app": {"public_url": "example.org"}}, "app.public_url"),
        ({"app": {"public_url": "https://example.org:99999"}}, "app.public_url"),
        ({"app": {"public_url": "https://example.org:port"}}, "app.public_url"),
        ({"app": {"public_url": "https://[example"}}, "app.public_url"),
    ],
)
def test_what_cannot_work_is_refused_by_its_key(sections: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as error:
        Settings.of(Config(**sections))

    assert str(error.value).startswith(f"{key}:")


@pytest.mark.parametrize(
    ("callback_url", "is_own"),
    [
        ("https://bot.example/base/api/messages", True),
        ("https://BOT.example:443/base", True),
        ("https://bot.example/based", False),
        ("https://bot.example/replies", False),
        ("https://other.example/base/replies", False),
        ("http://bot.example/base/replies", False),
    ],
)
def test_replies_are_not_posted_back_to_the_gateway(callback_url: str, is_own: bool) -> None:
    config = Config(
        app={"public_url": "https://bot.example/base/"},
        platforms={"webhook": {"callback_url": callback_url}},
    )

    if is_own:
        with pytest.raises(ConfigError, match=r"platforms.webhook.callback_url: .* is below"):
            Settings.of(config)
    else:
        assert Settings.of(config).callback_url == callback_url


def test_a_principal_is_believed_as_long_as_its_message_may_wait() -> None:
    settings = Settings.of(Config(gateway={"turn_deadline_s": 7200.5}))

    assert settings.principal_ttl_s == 7261


def test_nobody_waits_longer_than_a_day() -> None:
    with pytest.raises(ValidationError, match="turn_deadline_s"):
        Config(gateway={"turn_deadline_s": 86_401})


def test_every_rate_has_a_limit_unless_it_is_null() -> None:
    usual = limits_of(RateSettings())
    without = limits_of(RateSettings(sender_per_s=None, conversation_per_s=None))

    assert usual[Kind.SENDER] == Limit(per_s=10, burst=60)
    assert usual[Kind.REPETITION] == usual[Kind.CONVERSATION]
    assert usual.keys() - without.keys() == {Kind.SENDER, Kind.CONVERSATION, Kind.REPETITION}


@pytest.mark.parametrize("name", ["sender_per_s", "sender_burst", "failure_per_s", "max_keys"])
def test_a_limit_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        RateSettings(**{name: 0})


def test_pages_of_our_own_and_those_named_may_open_a_socket() -> None:
    named = {"gateway": {"socket_origins": ["https://App.example.org/"]}}
    plain = Settings.of(Config(**named))
    public = Settings.of(Config(app={"public_url": "https://bot.example.org/door/"}))

    assert plain.limits.socket_origins == ("http://127.0.0.1:8000", "https://app.example.org")
    assert public.limits.socket_origins == ("https://bot.example.org",)
