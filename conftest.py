"""Marks tests by what they need, as their fixtures say."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# How long an example takes says more about the machine than about us.
settings.register_profile("clawdbot", deadline=None)
settings.load_profile("clawdbot")

NEEDS = {"stack": "broker", "broker": "broker", "models_dir": "models", "sandbox": "sandbox"}
"""Fixture to marker."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a broker, the models or the sandbox; skip full counts unless asked for."""
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            if marker := NEEDS.get(fixture):
                item.add_marker(getattr(pytest.mark, marker))
        if item.get_closest_marker("proof") and not os.environ.get("CLAWDBOT_PROOF"):
            item.add_marker(pytest.mark.skip(reason="full counts: run `make proof`"))


@pytest.fixture(scope="session", autouse=True)
def nobody_elses_configuration() -> Iterator[None]:
    """Keep the developer's own `CLAWDBOT_` variables out of the tests."""
    kept = ("CLAWDBOT_MODELS_DIR", "CLAWDBOT_PROOF")
    foreign = [name for name in os.environ if name.startswith("CLAWDBOT_") and name not in kept]
    with pytest.MonkeyPatch.context() as patch:
        for name in foreign:
            patch.delenv(name)
        yield
