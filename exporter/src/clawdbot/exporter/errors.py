"""What can go wrong while models are built; every message names the cause and the fix."""

from __future__ import annotations


class ExportError(Exception):
    """A model folder could not be built or verified."""


class ChecksumMismatch(ExportError):
    """An input is not the file that the manifest pins."""

    def __init__(self, name: str, expected: str, got: str) -> None:
        """Name the file and both digests.

        Args:
            name: file or archive member that was read.
            expected: sha256 in the manifest, hex.
            got: sha256 of what was read, hex.
        """
        self.name = name
        self.expected = expected
        self.got = got
        super().__init__(
            f"{name!r} has sha256 {got}, expected {expected}: "
            "delete the file and build again; if it repeats, upstream or a mirror changed it, "
            "so compare the releases before you touch manifest.yaml"
        )


class DownloadFailed(ExportError):
    """A wheel could not be fetched."""


class UnexpectedContents(ExportError):
    """An input matches its checksum requirement but is not laid out as this exporter reads it."""


class UnknownModel(ExportError):
    """The manifest has no such model or variant."""
