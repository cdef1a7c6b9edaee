"""The generated documents: fresh, complete, and the same wherever they are written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clawdbot.runtime.config import Config
from clawdbot.runtime.secrets import Secrets
from clawdbot.schema.streams import BUCKETS, STREAMS
from clawdbot.schema.wire import Wire
from scripts.reference import asyncapi, bus, configuration, metrics, secrets_table
from scripts.reference.__main__ import COMMAND, DOCUMENTS, main
from scripts.reference.reach import overlap, rpcs, senders
from scripts.reference.sources import ROOT

MAKES_METRICS = re.compile(r"prometheus_client import .*(Counter|Gauge|Histogram|Info|Summary)")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return asyncapi.build()


def test_the_documents_in_the_repository_say_what_the_code_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = main(["--check"])

    assert (status, capsys.readouterr().err) == (0, "")


@pytest.mark.slow
def test_documents_are_the_same_in_another_environment_and_name_no_path(tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/elsewhere",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "COLUMNS": "20",
        "PYTHONHASHSEED": "7",
        "CLAWDBOT_CONFIG": "/elsewhere/config.yaml",
        "CLAWDBOT_APP__PORT": "9000",
    }
    command = [sys.executable, "-m", "scripts.reference", "--docs", str(tmp_path)]

    subprocess.run(command, check=True, cwd=ROOT, env=environment)

    for name, document in DOCUMENTS.items():
        found = (tmp_path / name).read_text(encoding="utf-8")
        assert found == document()
        assert str(ROOT) not in found


def test_a_changed_and_a_missing_document_are_named_with_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in DOCUMENTS:
        shutil.copy(ROOT / "docs" / name, tmp_path)
    with (tmp_path / "metrics.md").open("a", encoding="utf-8") as file:
        file.write("by hand\n")
    (tmp_path / "bus.md").unlink()

    status = main(["--check", "--docs", str(tmp_path)])

    assert status == 1
    stale = capsys.readouterr().err.splitlines()
    folder = tmp_path.name
    assert stale == [
        f"{folder}/{name} is stale: run `{COMMAND}`" for name in ("bus.md", "metrics.md")
    ]


def test_every_key_and_secret_is_in_the_configuration_document() -> None:
    text = configuration.document()

    for _, _, keys in configuration.tables(Config):
        assert all(f"| `{key.name}` |" in text for key in keys)
    for _, name in secrets_table.names():
        assert f"| `{name}` |" in text
    assert {section.partition(".")[0] for section, _, _ in configuration.tables(Config)} == set(
        Config.model_fields
    )


def test_a_documented_variable_overrides_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [key for _, _, found in configuration.tables(Config) for key in found]
    (port,) = (key for key in keys if key.name == "ops.health_ports.memory")
    monkeypatch.setenv(port.variable, "9999")

    assert Config().ops.health_ports.memory == 9999


def test_a_secret_is_looked_for_where_the_document_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAWDBOT_SECRET_AUDIT_KEY", "from the environment")
    (tmp_path / "audit_key").write_text("from the file")

    assert Secrets(tmp_path).text("audit_key") == "from the environment"


def test_every_reference_of_the_asyncapi_document_resolves(document: dict[str, Any]) -> None:
    references = list(_references(document))

    assert len(references) > 100
    assert [reference for reference in references if not _resolves(document, reference)] == []


def test_every_message_of_the_schema_is_in_the_asyncapi_document(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    ours = [kind for kind in _subclasses(Wire) if kind.__module__.startswith("clawdbot.schema.")]
    assert [kind.__name__ for kind in ours if kind.__name__ not in schemas] == []


def test_every_rpc_and_stream_is_in_the_asyncapi_document(document: dict[str, Any]) -> None:
    operations, channels = document["operations"], document["channels"]

    assert {f"{rpc.service}.{rpc.verb}" for _, rpc in rpcs()} <= operations.keys()
    kept = {channel.get("x-stream") for channel in channels.values()}
    assert kept >= {stream.name for stream in STREAMS}


def test_the_asyncapi_document_says_who_asks_and_who_answers(document: dict[str, Any]) -> None:
    recall = document["operations"]["memory.recall"]

    assert recall["x-asked-by"] == ["assistant"]
    assert recall["x-answered-by"] == ["memory"]
    assert document["channels"]["memory.recall"]["address"] == "claw.rpc.memory.recall"
    assert document["channels"]["inference.chat"]["address"] == "claw.rpc.inference.{model}.chat"


def test_every_stream_and_bucket_is_in_the_bus_document() -> None:
    text = bus.document()

    assert all(f"| `{found.name}` |" in text for found in (*STREAMS, *BUCKETS))


def test_metrics_are_made_only_where_the_document_looks() -> None:
    known = {name.replace(".", "/") + ".py" for _, name in metrics.metric_modules()}
    makers = [
        path
        for package in ("libs", "services", "cli")
        for path in (ROOT / package).rglob("src/clawdbot/**/*.py")
        if MAKES_METRICS.search(path.read_text(encoding="utf-8"))
    ]

    assert {path.as_posix().rpartition("/src/")[2] for path in makers} == known


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("claw.in.{tenant}.{message}", "claw.in.>", True),
        ("claw.rpc.inference.{model}.chat", "claw.rpc.inference.*.embed", False),
        ("claw.rpc.inference.{model}.embed", "claw.rpc.inference.*.embed", True),
        ("claw.call.inference.x", "claw.call.inference", False),
        ("claw.in", "claw.in.>", False),
    ],
)
def test_patterns_overlap_when_a_subject_matches_both(one: str, other: str, expected: bool) -> None:
    assert overlap(one, other) is expected
    assert overlap(other, one) is expected


def test_only_the_gateway_may_decide_an_approval() -> None:
    assert senders("claw.rpc.executor.decide") == ["gateway"]


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _resolves(document: dict[str, Any], reference: str) -> bool:
    found: Any = document
    for step in reference.removeprefix("#/").split("/"):
        if not isinstance(found, dict) or step not in found:
            return "$ref" in found and _resolves(document, f"{found['$ref']}/{step}")
        found = found[step]
    return True


def _subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    for inner in kind.__subclasses__():
        yield inner
        yield from _subclasses(inner)
