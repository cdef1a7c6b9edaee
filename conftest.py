"""Marks tests by what they need, as their fixtures say."""

from __future__ import annotations

import os

import pytest

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
