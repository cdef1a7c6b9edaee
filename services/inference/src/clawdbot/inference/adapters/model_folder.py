"""Finds model folders `<directory>/<name>/<version>/` and checks what they hold."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from clawdbot.schema.errors import NotFound

CARD = "model.yaml"
GRAPH = "model.onnx"
TOKENIZER = "tokenizer.json"
TEMPLATE = "chat_template.jinja"

Card = TypeVar("Card", bound=BaseModel)


@dataclass(frozen=True)
class ModelFolder:
    """Where one version of a model lies."""

    path: Path
    graph: Path
    """The ONNX file."""

    def file(self, name: str) -> Path:
        """Return the path of a file that the model needs.

        Raises:
            NotFound: it is not there.
        """
        path = self.path / name
        if not path.is_file():
            raise NotFound(f"{path} does not exist")
        return path

    def card(self, kind: type[Card]) -> Card:
        """Return the checked model.yaml.

        Raises:
            NotFound: it is missing, unreadable, or not that of a `kind`; says which key and why.
        """
        path = self.file(CARD)
        try:
            return kind.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except ValidationError as exc:
            reasons = "; ".join(_explain(exc))
            raise NotFound(f"{path} is not usable: {reasons}") from exc
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
            raise NotFound(f"{path} cannot be read: {exc}") from exc

    def verify(self, sha256: dict[str, str]) -> None:
        """Pass when every listed file has its checksum.

        Raises:
            NotFound: a file is missing or has other bytes.
        """
        for name, expected in sha256.items():
            with self.file(name).open("rb") as source:
                got = hashlib.file_digest(source, "sha256").hexdigest()
            if got != expected:
                raise NotFound(
                    f"{self.path / name} is damaged: {CARD} expects sha256 {expected}, got {got}"
                )


def named(directory: Path, name: str) -> ModelFolder:
    """Return the highest version of model `name`.

    Raises:
        NotFound: there is no such folder, or it holds no version.
    """
    home = directory / name
    versions = [path for path in home.glob("*") if path.name.isdecimal() and path.is_dir()]
    if not versions:
        raise NotFound(f"{home} holds no model: expected {home}/<version>/{CARD}")
    newest = max(versions, key=lambda path: int(path.name))
    return ModelFolder(newest, newest / GRAPH)


def at(graph: Path) -> ModelFolder:
    """Return the folder around an ONNX file, which must hold model.yaml and tokenizer too.

    Raises:
        NotFound: there is no such file.
    """
    if not graph.is_file():
        raise NotFound(f"{graph} does not exist")
    return ModelFolder(graph.parent, graph)


def _explain(error: ValidationError) -> list[str]:
    problems = error.errors(include_url=False, include_context=False)
    return [
        f"{'.'.join(map(str, problem['loc'])) or 'the document'}: {problem['msg']}"
        for problem in problems
    ]
