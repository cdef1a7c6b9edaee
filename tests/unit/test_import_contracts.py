"""Each import contract of the root pyproject.toml is seen to break, and nothing else with it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.style_report import ROOT

SERVICES = ("gateway", "assistant", "inference", "memory", "executor")
FLOORS = {
    "main": "from clawdbot.{service}.settings import Settings\n"
    "from clawdbot.{service}.adapters import store\n",
    "settings": "from clawdbot.runtime import config\n\nSettings = config\n",
    "adapters.store": "from clawdbot.{service}.handlers import answer\n"
    "from clawdbot.runtime import bus\nimport prometheus_client\n",
    "handlers": "from clawdbot.{service} import ports\n\nanswer = ports\n",
    "ports": "from clawdbot.{service} import domain\n",
    "domain": "from clawdbot.schema import wire\n",
}
"""A service without fault: each floor stands on the one below."""

OTHERS = {
    "schema.wire": "",
    "runtime.config": "",
    "runtime.bus": "import nats\nfrom clawdbot.schema import wire\n",
    "cli.main": "from clawdbot.runtime import config\n",
    "exporter.graph": "",
    "gateway.adapters.webhook": "",
    "gateway.adapters.chat": "",
    "gateway.adapters.platforms.dingtalk": "",
    "gateway.adapters.platforms.botframework": "",
    "gateway.adapters.platforms.discord": "",
    "gateway.adapters.platforms.feishu": "",
    "gateway.adapters.platforms.github": "",
    "gateway.adapters.platforms.line": "",
    "gateway.adapters.platforms.matrix": "",
    "gateway.adapters.platforms.mattermost": "",
    "gateway.adapters.platforms.slack": "",
    "gateway.adapters.platforms.standard_webhooks": "",
    "gateway.adapters.platforms.teams": "",
    "gateway.adapters.platforms.telegram": "",
    "gateway.adapters.platforms.wechat": "",
    "gateway.adapters.platforms.twilio": "",
    "gateway.adapters.platforms.wecom": "",
    "gateway.adapters.platforms.whatsapp": "",
}

LAYERS = "services stand on runtime, runtime on schema; services never meet"
FIVE_FLOORS = "every service has the same five floors"
SETTINGS = "only main reads settings"
NO_IO = "the inside knows no I/O"
NATS = "only runtime speaks NATS"
EXPORTER = "the model builder stands alone"
WAYS_IN = "ways in do not know each other"
PLATFORMS = "platforms do not know each other"


@dataclass(frozen=True)
class Violation:
    """A line in a module that one contract forbids."""

    contract: str
    module: str
    line: str

    def __str__(self) -> str:
        return f"{self.module}: {self.line}"


VIOLATIONS = (
    Violation(LAYERS, "memory.adapters.store", "import clawdbot.gateway.domain"),
    Violation(LAYERS, "runtime.bus", "import clawdbot.cli.main"),
    Violation(FIVE_FLOORS, "assistant.ports", "import clawdbot.assistant.handlers"),
    Violation(FIVE_FLOORS, "executor.utils", "import re"),
    Violation(SETTINGS, "inference.adapters.store", "import clawdbot.inference.settings"),
    Violation(NO_IO, "memory.handlers", "import sqlalchemy"),
    Violation(NO_IO, "executor.domain", "import clawdbot.runtime.config"),
    Violation(NATS, "gateway.adapters.store", "import nats"),
    Violation(EXPORTER, "exporter.graph", "import clawdbot.schema.wire"),
    Violation(WAYS_IN, "gateway.adapters.webhook", "import clawdbot.gateway.adapters.chat"),
    Violation(
        PLATFORMS,
        "gateway.adapters.platforms.slack",
        "import clawdbot.gateway.adapters.platforms.telegram",
    ),
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The packages' skeleton under the real contracts."""
    modules = OTHERS | {
        f"{service}.{floor}": text.format(service=service)
        for service in SERVICES
        for floor, text in FLOORS.items()
    }
    for module, text in modules.items():
        _append(tmp_path, module, text)
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    return tmp_path


def test_a_clean_skeleton_keeps_every_contract(project: Path) -> None:
    verdicts = _lint(project)

    assert verdicts == dict.fromkeys(_contracts(), "KEPT")


@pytest.mark.parametrize("violation", VIOLATIONS, ids=str)
def test_a_violation_breaks_its_contract_and_no_other(project: Path, violation: Violation) -> None:
    _append(project, violation.module, f"{violation.line}\n")

    verdicts = _lint(project)

    assert [name for name in verdicts if verdicts[name] == "BROKEN"] == [violation.contract]


def test_no_contract_is_without_a_planted_violation() -> None:
    assert {violation.contract for violation in VIOLATIONS} == set(_contracts())


def test_the_skeleton_has_every_package_that_the_contracts_are_about() -> None:
    roots = {f"clawdbot.{name}" for name in SERVICES}
    roots |= {f"clawdbot.{module.split('.')[0]}" for module in OTHERS}

    assert roots == set(_settings()["root_packages"])


def _append(project: Path, module: str, text: str) -> None:
    path = project / "clawdbot" / f"{module.replace('.', '/')}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    # `clawdbot` itself is a namespace and has none.
    for package in [*path.relative_to(project).parents][:-2]:
        (project / package / "__init__.py").touch()
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def _lint(project: Path) -> dict[str, str]:
    """Return what lint-imports says of each contract."""
    program = Path(sys.executable).with_name("lint-imports")
    # First in the path, so that the skeleton hides the packages that are installed.
    environment = {**os.environ, "PYTHONPATH": str(project), "COLUMNS": "200"}
    run = subprocess.run(
        [program, "--no-cache", "--config", "pyproject.toml"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    found = re.findall(r"^(.+) (KEPT|BROKEN)$", run.stdout, flags=re.MULTILINE)
    verdicts = {name: verdict for name, verdict in found if name in _contracts()}
    assert verdicts.keys() == set(_contracts()), run.stdout + run.stderr
    assert run.returncode == int("BROKEN" in verdicts.values())
    return verdicts


def _contracts() -> list[str]:
    return [contract["name"] for contract in _settings()["contracts"]]


def _settings() -> dict[str, Any]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    settings: dict[str, Any] = tomllib.loads(text)["tool"]["importlinter"]
    return settings
