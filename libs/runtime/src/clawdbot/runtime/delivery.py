"""What becomes of work that failed: one table, from the class of the error to the outcome.

    Rejected            dead letter, and the user is told once
    Retryable           again with back-off, then as Rejected
    anything else       a bug: traceback in the log, then as Retryable

This module has the only `except Exception` of the project.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Generic, TypeVar

from clawdbot.schema.errors import ClawdbotError, Internal

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_DELAY_S = 0.25
LONGEST_DELAY_S = 15.0


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What an attempt gave: a value, or an error of our tree."""

    value: T | None = None
    error: ClawdbotError | None = None

    @property
    def label(self) -> str:
        """`ok`, or the error's code: for metrics."""
        return "ok" if self.error is None else self.error.code


async def attempt(work: Awaitable[T]) -> Outcome[T]:
    """Return what `work` gave; cancellation passes through."""
    try:
        return Outcome(value=await work)
    except ClawdbotError as exc:
        return Outcome(error=exc)
    except asyncio.CancelledError:
        raise
    except Exception as exc:
        log.exception("unexpected error", extra={"error": type(exc).__name__})
        return Outcome(error=_as_internal(exc))


def _as_internal(cause: Exception) -> Internal:
    error = Internal("internal error")
    error.__cause__ = cause
    return error


def delay_s(attempts: int, error: ClawdbotError | None = None) -> float:
    """Return how long to wait after `attempts` failed ones, in seconds.

    Doubles each time, with jitter of a half so that many waiters do not return together; never
    less than the error itself asks for.
    """
    backoff = min(FIRST_DELAY_S * 2 ** min(attempts - 1, 16), LONGEST_DELAY_S)
    asked = (error.retry_after_s if error else None) or 0.0
    return max(asked, float(backoff) * random.uniform(0.5, 1.0))  # noqa: S311 -- spreads load, guards nothing
