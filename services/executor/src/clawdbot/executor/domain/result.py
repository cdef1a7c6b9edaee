"""What came of one run in a sandbox."""

from __future__ import annotations

from dataclasses import dataclass

from clawdbot.schema.executor import Outcome


@dataclass(frozen=True)
class Result:
    """The end of a job that was started; one that could not be started is an error instead."""

    outcome: Outcome
    exit_status: int | None
    """None when the job was killed; 128 + n when signal n ended its first process."""
    stdout: bytes
    stderr: bytes
    truncated: bool
    """Whether output was lost because it passed the profile's limit."""
    duration_s: float
