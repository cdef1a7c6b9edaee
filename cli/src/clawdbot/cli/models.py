"""Model folders: which there are, which are missing, and how to get them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import yaml

from clawdbot.cli.failures import Failure
from clawdbot.cli.log_lines import LineSplitter, Say
from clawdbot.runtime.config_sections import Models

BUILDABLE = ("smollm2-135m-instruct", "multilingual-e5-small")


@dataclass(frozen=True)
class ModelFolder:
    """What a model's own card says of it."""

    name: str
    version: str
    kind: str
    context_length: str
    folder: Path


def missing(models: Models) -> list[str]:
    """Return the models that the configuration names and the disk does not hold."""
    absent = []
    if models.default_path is not None and not models.default_path.is_file():
        absent.append(str(models.default_path))
    named = [models.embedding] if models.default_path else [models.default, models.embedding]
    return absent + [name for name in named if not _stands(models.directory / name)]


def folders(directory: Path) -> list[ModelFolder]:
    """Return the models in `directory`, by name.

    Raises:
        Failure: a card cannot be read.
    """
    return [_read(card) for card in sorted(directory.glob("*/*/model.yaml"))]


def how_to_get(name: str) -> str:
    """Return what brings the missing model `name` here."""
    if name in BUILDABLE:
        return "run `clawdbot models build`"
    return (
        f"put the model there, or set models.default to {BUILDABLE[0]!r}, "
        "which `clawdbot up` builds by itself"
    )


async def build(directory: Path, names: Sequence[str], say: Say) -> bool:
    """Build models and return whether that worked; what the exporter says goes to `say`."""
    built = [
        await _exporter(["build", "--out", str(directory), "--only", name], say) == 0
        for name in names
    ]
    return all(built)


async def verify(directory: Path, say: Say) -> bool:
    """Check every file against its card and return whether all are whole."""
    return await _exporter(["verify", "--models", str(directory)], say) == 0


async def _exporter(arguments: Sequence[str], say: Say) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "clawdbot.exporter",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        # pip fetches the sources, and is configured by variables of its own.
        env=dict(os.environ),
        start_new_session=True,
    )
    try:
        await _relay(process, say)
        return await process.wait()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            await process.wait()


async def _relay(process: asyncio.subprocess.Process, say: Say) -> None:
    lines = LineSplitter()
    while process.stdout is not None and (data := await process.stdout.read(65536)):
        for line in lines.feed(data):
            say("models", line)
    for line in lines.rest():
        say("models", line)


def _stands(folder: Path) -> bool:
    return any(folder.glob("*/model.onnx"))


def _read(card: Path) -> ModelFolder:
    try:
        values = yaml.safe_load(card.read_text("utf-8"))
        return ModelFolder(
            name=str(values["name"]),
            version=str(values["version"]),
            kind=str(values["kind"]),
            context_length=str(values["context_length"]),
            folder=card.parent,
        )
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as exc:
        raise Failure(
            f"{card} cannot be read: {exc}", fix="build the model again: `clawdbot models build`"
        ) from exc
