"""What the configuration has to allow."""

from __future__ import annotations

import pytest

from clawdbot.assistant.domain.language import language_of
from clawdbot.assistant.main import limits, personas
from clawdbot.assistant.settings import Settings
from clawdbot.runtime.config import Config, ConfigError


def test_defaults_leave_room_for_a_prompt():
    settings = Settings.of(Config())

    assert settings.model == "smollm2-135m-instruct"
    assert limits(settings).max_tokens < limits(settings).context_length


def test_persona_ships_with_the_package_in_both_languages():
    for language, persona in personas().items():
        assert "Clawdbot" in persona.text
        assert language_of(persona.text) is language_of(persona.heading) is language


def test_answer_that_may_take_the_whole_context_is_refused():
    config = Config.model_validate(
        {"models": {"context_length": 200}, "assistant": {"max_tokens": 200}}
    )

    with pytest.raises(ConfigError, match="max_tokens"):
        Settings.of(config)
