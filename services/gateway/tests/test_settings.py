from __future__ import annotations

import pytest

from clawdbot.gateway.settings import Settings
from clawdbot.runtime.config import Config, ConfigError


def test_the_defaults_are_usable() -> None:
    settings = Settings.of(Config())

    assert (settings.port, settings.messages_path) == (8000, "/api/messages")
    assert settings.callback_url is None


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"platforms": {"socket": {"enabled": True}}}, "platforms.socket.enabled"),
        ({"platforms": {"webhook": {"path": "//"}}}, "platforms.webhook.path"),
        ({"platforms": {"webhook": {"path": "/api/chat"}}}, "platforms.webhook.path"),
        ({"platforms": {"webhook": {"path": "/webhooks/mine"}}}, "platforms.webhook.path"),
        (
            {"platforms": {"webhook": {"callback_url": "ftp://x"}}},
            "platforms.webhook.callback_url",
        ),
        ({"app": {"public_url": "example.org"}}, "app.public_url"),
    ],
)
def test_what_cannot_work_is_refused_by_its_key(sections: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as error:
        Settings.of(Config(**sections))

    assert str(error.value).startswith(f"{key}:")
