"""Fixtures: one system for every test that breaks nothing, new ones for those that do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from tests.integration.system import Collector, System, models_directory


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.path).is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.integration)
            item.add_marker(pytest.mark.timeout(240))


@pytest.fixture(scope="session")
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as running:
        yield running


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture(scope="session")
def models_dir() -> Path:
    directory = models_directory()
    if not (directory / "smollm2-135m-instruct").is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"no models in {directory}: run `make models`")
        pytest.skip(f"no models in {directory}: run `make models`")
    return directory


@pytest.fixture
def new_system(tmp_path: Path, portal: BlockingPortal, models_dir: Path) -> Callable[..., System]:
    """Build a system of the test's own; not started yet."""

    def build(**sections: Any) -> System:
        return System(tmp_path, portal, **sections)

    return build


@pytest.fixture(scope="session")
def system(
    tmp_path_factory: pytest.TempPathFactory,
    portal: BlockingPortal,
    collector: Collector,
    models_dir: Path,
) -> Iterator[System]:
    """One running system for every test that breaks nothing."""
    directory = tmp_path_factory.mktemp("system")
    telemetry = {"otlp_endpoint": collector.url}
    with System(directory, portal, telemetry=telemetry).running() as running:
        yield running
