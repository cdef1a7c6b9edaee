"""The instruction set: every manifest in a directory, checked when it is loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import yaml
from jsonschema.exceptions import SchemaError
from pydantic import ValidationError

from clawdbot.executor.adapters.manifest import Manifest
from clawdbot.executor.domain.capabilities import Guarantee
from clawdbot.executor.domain.instruction import Confirm, Instruction, Sample
from clawdbot.executor.domain.profile import PROFILES
from clawdbot.executor.domain.wrappers import runs_others
from clawdbot.schema.executor import Risk

BUILT_IN = Path(__file__).parent / "instructions"


class BadManifest(ValueError):
    """A manifest breaks the rules; the service does not start with it."""


def load(directory: Path = BUILT_IN) -> Mapping[str, Instruction]:
    """Return the instructions of `directory` by id.

    Raises:
        BadManifest: a file is not a manifest, breaks a rule, or repeats an id.
    """
    found: dict[str, Instruction] = {}
    for file in sorted(directory.glob("*.yaml")):
        instruction = read(file)
        if instruction.id in found or file.stem != instruction.id:
            raise BadManifest(f"{file.name}: the id {instruction.id!r} is not the file's name")
        found[instruction.id] = instruction
    return found


def read(file: Path) -> Instruction:
    """Return the instruction in `file`.

    Raises:
        BadManifest: it is not a manifest or breaks a rule.
    """
    content = file.read_bytes()
    try:
        manifest = Manifest.model_validate(yaml.safe_load(content))
    except (yaml.YAMLError, ValidationError, SchemaError) as exc:
        raise BadManifest(f"{file.name}: {exc}") from exc
    executable = Path(manifest.executable)
    if manifest.risk < Risk.ARBITRARY_OR_IRREVERSIBLE and runs_others(str(executable.resolve())):
        raise BadManifest(f"{file.name}: {executable} is another program's name for a wrapper")
    return _instruction(manifest, hashlib.sha256(content).hexdigest(), _digest(executable))


def _instruction(manifest: Manifest, digest: str, executable_digest: str | None) -> Instruction:
    return Instruction(
        id=manifest.id,
        version=manifest.version,
        manifest_sha256=digest,
        summary=manifest.summary.model_dump(),
        executable=manifest.executable,
        executable_sha256=executable_digest,
        schema=manifest.arguments,
        template=manifest.template(),
        profile=PROFILES[manifest.profile],
        risk=Risk(manifest.risk),
        confirm=Confirm(manifest.confirm),
        requires=frozenset(map(Guarantee, manifest.requires)),
        samples=_samples(manifest),
    )


def _samples(manifest: Manifest) -> tuple[Sample, ...]:
    accepted = (Sample(sample.arguments, sample.argv) for sample in manifest.samples.accept)
    refused = (Sample(arguments, None) for arguments in manifest.samples.refuse)
    return (*accepted, *refused)


def _digest(executable: Path) -> str | None:
    try:
        return hashlib.sha256(executable.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None
