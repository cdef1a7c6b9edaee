"""Every failure is one clear line and, where we know one, what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from clawdbot.runtime.config import ConfigError
from clawdbot.schema.errors import ClawdbotError

FAILED = 1
MISUSED = 2
"""Exit status for wrong arguments and wrong configuration."""


class Failure(Exception):
    """The command cannot go on.

    Attributes:
        fix: what the reader can do about it, when we know.
        status: the process's exit status.
    """

    def __init__(self, message: str, *, fix: str | None = None, status: int = FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.status = status


@contextmanager
def explained() -> Iterator[None]:
    """Turn failures into lines on standard error and an exit status; bugs keep their traceback."""
    try:
        yield
    except (Failure, ClawdbotError, ConfigError, OSError, ExceptionGroup) as exc:
        failure = as_failure(exc)
        if failure is None:
            raise
        say_failure(failure)
        raise typer.Exit(failure.status) from exc


def say_failure(failure: Failure) -> None:
    """Print one failure on standard error."""
    console = Console(stderr=True, soft_wrap=True, markup=False, highlight=False)
    console.print(f"error: {failure.message}", style="red")
    if failure.fix is not None:
        console.print(f"fix: {failure.fix}")


def as_failure(error: BaseException) -> Failure | None:
    """Return `error` as what the command reports; None for a bug of ours."""
    match error:
        case Failure():
            return error
        case ConfigError():
            return Failure(str(error), status=MISUSED)
        case ClawdbotError():
            return Failure(error.message, fix=error.fix)
        case OSError():
            return Failure(str(error))
        case ExceptionGroup():
            return as_failure(error.exceptions[0])
    return None
