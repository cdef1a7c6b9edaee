from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from clawdbot.executor.adapters.instruction_set import BUILT_IN, BadManifest, load, read
from clawdbot.executor.domain.arguments import command_line
from clawdbot.executor.domain.instruction import Instruction
from clawdbot.executor.domain.wrappers import runs_others
from clawdbot.schema.errors import InvalidMessage

_INSTRUCTIONS = load()
_SAMPLES = [
    pytest.param(instruction, sample, id=f"{instruction.id}-{number}")
    for instruction in _INSTRUCTIONS.values()
    for number, sample in enumerate(instruction.samples)
]


@pytest.fixture
def manifest() -> dict[str, Any]:
    found = yaml.safe_load((BUILT_IN / "system.info.yaml").read_text())
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(("instruction", "sample"), _SAMPLES)
def test_samples_of_the_manifests_hold(instruction: Instruction, sample: Any) -> None:
    if sample.argv is None:
        with pytest.raises(InvalidMessage):
            command_line(instruction, sample.arguments)
        return

    argv = command_line(instruction, sample.arguments)

    assert argv == (instruction.executable, *sample.argv)


def test_every_instruction_is_summed_up_in_both_languages() -> None:
    for instruction in _INSTRUCTIONS.values():
        assert set(instruction.summary) == {"en", "zh"}
        assert all(instruction.summary.values())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"executable": "/usr/bin/bash"}, "runs other programs"),
        ({"executable": "/usr/bin/python3.11"}, "runs other programs"),
        ({"executable": "/usr/bin/env"}, "runs other programs"),
        ({"executable": "head"}, "executable"),
        ({"executable": "/tmp/head"}, "executable"),
        ({"executable": "/usr/bin/../bin/head"}, "'..'"),
        ({"risk": 4}, "risk"),
        ({"profile": "root"}, "no profile"),
        ({"requires": ["magic"]}, "no such guarantee"),
        ({"shell": True}, "shell"),
        ({"summary": {"en": "only English"}}, "zh"),
        ({"arguments": {"type": "object"}}, "additional properties"),
        ({"arguments": {"type": 7}}, "."),
        ({"argv": [{"from": "topic", "as": "positional"}]}, "'--' before it"),
        ({"argv": [{"from": "other", "as": "flag", "option": "-x"}]}, "no argument"),
        ({"argv": [{"from": "topic", "as": "flag", "option": "-x y"}]}, "option"),
        ({"argv": [{"from": "topic", "as": "choice", "words": {"all": []}}]}, "not its enum"),
    ],
)
def test_manifest_that_breaks_a_rule_is_refused(
    tmp_path: Path, manifest: dict[str, Any], change: dict[str, Any], reason: str
) -> None:
    file = tmp_path / "system.info.yaml"
    file.write_text(yaml.safe_dump(manifest | change))

    with pytest.raises(BadManifest, match=reason):
        read(file)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string"},
        {"type": "string", "maxLength": 10},
        {"type": "string", "maxLength": 10, "pattern": "a"},
        {"type": "array", "items": {"enum": ["a"]}},
        {"type": "array", "maxItems": 2, "items": {"type": "string"}},
        {"type": "object"},
        {},
    ],
)
def test_argument_without_bounds_is_refused(
    tmp_path: Path, manifest: dict[str, Any], schema: dict[str, Any]
) -> None:
    manifest["arguments"]["properties"]["free"] = schema
    file = tmp_path / "system.info.yaml"
    file.write_text(yaml.safe_dump(manifest))

    with pytest.raises(BadManifest, match="free"):
        read(file)


def test_other_name_for_a_shell_is_refused(tmp_path: Path, manifest: dict[str, Any]) -> None:
    # /usr/bin/awk and its like are links on every distribution; their target decides.
    links = [
        p for p in Path("/usr/bin").iterdir() if p.is_symlink() and runs_others(p.resolve().name)
    ]
    link = next((p for p in links if not runs_others(p.name)), None)
    if link is None:
        pytest.skip("no such link here")
    file = tmp_path / "system.info.yaml"
    file.write_text(yaml.safe_dump(manifest | {"executable": str(link)}))

    with pytest.raises(BadManifest, match="wrapper"):
        read(file)


def test_id_must_be_the_name_of_the_file(tmp_path: Path, manifest: dict[str, Any]) -> None:
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(manifest))

    with pytest.raises(BadManifest, match="not the file's name"):
        load(tmp_path)


@pytest.mark.parametrize("content", ["", "- a", "{", "a: 1"])
def test_file_that_is_no_manifest_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(content)

    with pytest.raises(BadManifest, match=r"x\.yaml"):
        read(file)
