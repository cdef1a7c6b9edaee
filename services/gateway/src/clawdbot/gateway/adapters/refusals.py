"""Errors that only the edge knows: what is wrong with a request before it is a message."""

from __future__ import annotations

from typing import ClassVar

from clawdbot.schema.errors import Rejected, Unauthenticated


class BadPayload(Rejected):
    """The body is authentic, but not the JSON that we accept."""

    code: ClassVar[str] = "bad_payload"
    status: ClassVar[int] = 400


class SlowBody(Rejected):
    """The body did not arrive in time."""

    code: ClassVar[str] = "timeout"
    status: ClassVar[int] = 408


class UnsupportedEncoding(Rejected):
    """The body is compressed."""

    code: ClassVar[str] = "unsupported_encoding"
    status: ClassVar[int] = 415


class MethodNotAllowed(Rejected):
    """The path is right, the method is not."""

    code: ClassVar[str] = "method_not_allowed"
    status: ClassVar[int] = 405


class TokenRefused(Unauthenticated):
    """A token is wanted, and a valid one was not sent; where signatures count none would help."""
