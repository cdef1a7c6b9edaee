"""What an HTTP answer means for whoever sent the request: done, later, or never.

Source: RFC 9110 section 10.2.3 (`Retry-After`).
"""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from clawdbot.schema.errors import ClawdbotError, Overloaded, Rejected, Unavailable

TRANSIENT = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
)
LONGEST_WAIT_S = 3600.0


def error_of_status(who: str, status: int, retry_after: str = "") -> ClawdbotError | None:
    """Return what `status` means, or None for 2xx.

    Args:
        who: named in the message, such as `the callback`.
        status: of the answer.
        retry_after: the header's value, "" without one.
    """
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    if status not in TRANSIENT and status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return Rejected(f"{who} refused the reply with status {status}")
    wait_s = retry_after_s(retry_after)
    if wait_s is not None or status == HTTPStatus.TOO_MANY_REQUESTS:
        return Overloaded(f"{who} asks to wait with status {status}", retry_after_s=wait_s or 1.0)
    return Unavailable(f"{who} failed with status {status}")


def retry_after_s(value: str) -> float | None:
    """Return the seconds that a Retry-After of digits or an HTTP date means, bounded."""
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), LONGEST_WAIT_S)
    try:
        wait_s = parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return min(max(wait_s, 0.0), LONGEST_WAIT_S)
