"""A platform's request and our answer, free of any web framework."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from clawdbot.schema.errors import Unauthenticated

MAX_HEADER_BYTES = 4096
"""Longest signature header that is looked at."""


@dataclass(frozen=True)
class RawRequest:
    """A request exactly as it came."""

    method: str
    url: str = field(repr=False)
    """`app.public_url` with path and query, never from `Host` or `X-Forwarded-*`; without a
    configured public URL it begins with the path."""
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Decoded, blank values and duplicates kept."""
    headers: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    """Names in lower case, duplicates kept."""
    body: bytes = field(default=b"", repr=False)

    def header(self, name: str) -> bytes:
        """Return the one value of the header `name` (lower case): visible ASCII, not empty.

        Raises:
            Unauthenticated: there is none, more than one, or it has other characters.
        """
        values = [value for key, value in self.headers if key == name.encode()]
        value = values[0].strip(b" \t") if len(values) == 1 else b""
        if not value or len(value) > MAX_HEADER_BYTES or not all(32 <= c < 127 for c in value):
            raise refused()
        return value

    def parameter(self, name: str) -> str:
        """Return the one value of the query's `name`, ASCII and not empty.

        Raises:
            Unauthenticated: there is none, more than one, or it has other characters.
        """
        values = [value for key, value in self.query if key == name]
        if len(values) != 1 or not values[0] or not values[0].isascii():
            raise refused()
        return values[0]


@dataclass(frozen=True)
class Verified:
    """An authentic request."""

    request: RawRequest
    payload: bytes = field(repr=False)
    """The body, decrypted where the platform encrypts it."""


@dataclass(frozen=True)
class HTTPAnswer:
    """What a platform is answered."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of_json(cls, value: object, status: int = 200) -> HTTPAnswer:
        """Return `value` as JSON."""
        return cls(status, json.dumps(value, ensure_ascii=False).encode(), "application/json")


def refused() -> Unauthenticated:
    """Return the one error for every way in which a request fails to be authentic."""
    return Unauthenticated("the request is not signed by anybody we know")
