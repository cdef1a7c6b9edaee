"""Signed moments: a capture may not be played again later, nor be signed ahead of time."""

from __future__ import annotations

from clawdbot.gateway.adapters.platforms.requests import refused

SECONDS_DIGITS = 10
MILLISECONDS_DIGITS = 13


def fresh_seconds(value: bytes, now: float, max_age_s: float) -> int:
    """Return the Unix seconds in `value`, exactly ten ASCII digits, near `now` both ways.

    Raises:
        Unauthenticated: other characters, or further from `now` than `max_age_s`.
    """
    return _fresh(value, now, max_age_s, SECONDS_DIGITS)


def fresh_milliseconds(value: bytes, now: float, max_age_s: float) -> int:
    """Return the Unix milliseconds in `value`, exactly 13 digits; else as `fresh_seconds`."""
    return _fresh(value, now, max_age_s, MILLISECONDS_DIGITS)


def _fresh(value: bytes, now: float, max_age_s: float, digits: int) -> int:
    # bytes.isdigit knows ASCII digits only, where int() takes those of every script.
    if len(value) != digits or not value.isdigit():
        raise refused()
    at = int(value)
    if abs(now - at * 10.0 ** (SECONDS_DIGITS - digits)) > max_age_s:
        raise refused()
    return at
