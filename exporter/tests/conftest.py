"""Fixtures shared by the exporter's tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """The folder of built models; its absence skips at home and fails in CI."""
    folder = Path(os.environ.get("CLAWDBOT_MODELS_DIR", "models"))
    if not folder.is_dir():
        reason = f"no built models in {str(folder)!r}: run 'make models'"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder
