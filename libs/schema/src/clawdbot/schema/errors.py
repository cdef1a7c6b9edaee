"""The one tree of errors, and its form on the wire.

    ClawdbotError                       code                 a consumer does
    ├─ Rejected   (permanent)                                dead letter, tell the user once
    │  ├─ InvalidMessage                invalid
    │  ├─ Unauthenticated               unauthenticated
    │  ├─ Forbidden                     forbidden
    │  ├─ NotFound                      not_found
    │  ├─ Conflict                      conflict
    │  ├─ TooLarge                      too_large
    │  ├─ ApprovalRequired              approval_required
    │  ├─ ApprovalDenied                approval_denied
    │  └─ ApprovalExpired               approval_expired
    ├─ Retryable  (transient)                                retry with back-off, then dead letter
    │  ├─ Unavailable                   unavailable
    │  ├─ Overloaded(retry_after_s)     overloaded
    │  └─ DeadlineExceeded              deadline_exceeded
    └─ Internal   (a bug elsewhere)     internal             as Retryable

Messages are lower case, without a full stop, and safe to show to a user: they name what is wrong
and what to do, never a secret or the content of a message.
"""

from __future__ import annotations

from typing import ClassVar

from clawdbot.schema.wire import Wire


class ClawdbotError(Exception):
    """Whatever this system reports on purpose.

    Attributes:
        field: name of the input field that is wrong, when there is one.
        fix: what the reader can do about it, when we know.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    """HTTP status (RFC 9110) that the edge answers with."""
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, field: str | None = None, fix: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.fix = fix

    @property
    def retry_after_s(self) -> float | None:
        """Seconds after which a retry makes sense, when known."""
        return None


class Rejected(ClawdbotError):
    """Permanent: the same request fails again however often it is sent."""

    code = "invalid"
    status = 400


class InvalidMessage(Rejected):
    """The request cannot be understood or breaks a rule of its schema."""

    code = "invalid"
    status = 422


class Unauthenticated(Rejected):
    """Nobody we know: signature or token is missing, wrong, or out of date."""

    code = "unauthenticated"
    status = 401


class Forbidden(Rejected):
    """Somebody we know, who may not do this."""

    code = "forbidden"
    status = 403


class NotFound(Rejected):
    """The thing named does not exist, or not for this tenant."""

    code = "not_found"
    status = 404


class Conflict(Rejected):
    """The id is taken by a different request."""

    code = "conflict"
    status = 409


class TooLarge(Rejected):
    """Over a stated limit of size."""

    code = "too_large"
    status = 413


class ApprovalRequired(Rejected):
    """The operation needs a person's second confirmation first."""

    code = "approval_required"
    status = 403


class ApprovalDenied(Rejected):
    """A person said no."""

    code = "approval_denied"
    status = 403


class ApprovalExpired(Rejected):
    """Nobody answered in time, which means no."""

    code = "approval_expired"
    status = 403


class Retryable(ClawdbotError):
    """Transient: the same request may succeed later."""

    code = "unavailable"
    status = 503
    retryable = True


class Unavailable(Retryable):
    """Something we depend on does not answer."""

    code = "unavailable"
    status = 503


class Overloaded(Retryable):
    """A bounded queue is full.

    Attributes:
        retry_after_s: seconds to wait before trying again.
    """

    code = "overloaded"
    status = 429

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self._retry_after_s = retry_after_s

    @property
    def retry_after_s(self) -> float:
        """Seconds to wait before trying again."""
        return self._retry_after_s


class DeadlineExceeded(Retryable):
    """The time that the caller gave is used up."""

    code = "deadline_exceeded"
    status = 504


class Internal(ClawdbotError):
    """The other side met a bug of its own; its log has the traceback."""

    code = "internal"
    status = 500
    retryable = True


class ErrorReply(Wire):
    """An error as it crosses the bus, in an rpc's answer, a reply's metadata or a dead letter."""

    SCHEMA = "error/1"

    code: str
    message: str
    field: str | None = None
    fix: str | None = None
    retry_after_ms: int | None = None
    trace_id: str | None = None


_LEAVES: tuple[type[ClawdbotError], ...] = (
    InvalidMessage,
    Unauthenticated,
    Forbidden,
    NotFound,
    Conflict,
    TooLarge,
    ApprovalRequired,
    ApprovalDenied,
    ApprovalExpired,
    Unavailable,
    DeadlineExceeded,
    Internal,
)
_BY_CODE = {leaf.code: leaf for leaf in _LEAVES}


def to_wire(error: BaseException, trace_id: str | None = None) -> ErrorReply:
    """Return what may be told of `error`; of a bug, nothing but that it was one."""
    if not isinstance(error, ClawdbotError):
        return ErrorReply(code=Internal.code, message="internal error", trace_id=trace_id)
    wait = error.retry_after_s
    return ErrorReply(
        code=error.code,
        message=error.message,
        field=error.field,
        fix=error.fix,
        retry_after_ms=None if wait is None else int(wait * 1000),
        trace_id=trace_id,
    )


def from_wire(reply: ErrorReply) -> ClawdbotError:
    """Return the error that `reply` stands for; an unknown code becomes `Internal`."""
    if reply.code == Overloaded.code:
        return Overloaded(reply.message, retry_after_s=(reply.retry_after_ms or 1000) / 1000)
    leaf = _BY_CODE.get(reply.code, Internal)
    return leaf(reply.message, field=reply.field, fix=reply.fix)
