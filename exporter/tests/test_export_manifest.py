from __future__ import annotations

import re

import pytest

from clawdbot.exporter.errors import UnknownModel
from clawdbot.exporter.manifest import load_manifest

SHA256 = re.compile(r"[0-9a-f]{64}")


def test_shipped_manifest_pins_every_input() -> None:
    models = load_manifest().models

    assert set(models) == {"smollm2-135m-instruct", "multilingual-e5-small"}
    for spec in models.values():
        assert SHA256.fullmatch(spec.artefact.wheel_sha256)
        assert SHA256.fullmatch(spec.artefact.member_sha256)
        assert spec.default_variant in spec.variants
        assert spec.artefact.version in spec.artefact.wheel


def test_default_variant_owns_the_plain_folder_name() -> None:
    spec = load_manifest().model("smollm2-135m-instruct")

    assert spec.folder("q8") == "smollm2-135m-instruct/1"
    assert spec.folder("q4f") == "smollm2-135m-instruct-q4f/1"


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    manifest = load_manifest()

    with pytest.raises(UnknownModel, match="multilingual-e5-small"):
        manifest.model("gpt-9")
    with pytest.raises(UnknownModel, match="q4f"):
        manifest.model("smollm2-135m-instruct").checked_variant("q2")
