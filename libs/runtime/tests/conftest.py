"""A real broker, provisioned, for each test that asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clawdbot.runtime.testing import LocalBus, local_bus


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[LocalBus]:
    webhook = {"webhook": {"callback_url": "http://127.0.0.1:9/replies"}}
    async with local_bus(tmp_path, platforms=webhook) as running:
        yield running
