from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from .support import Service, opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory.db"


@pytest.fixture
async def service(path: Path) -> AsyncIterator[Service]:
    async with opened(path) as running:
        yield running
