"""Messages as a stream keeps them: whole, with their place, readable or not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

from nats.aio.msg import Msg
from nats.js.api import RawStreamMsg

from clawdbot.runtime import headers
from clawdbot.schema.codec import decode
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import InvalidMessage
from clawdbot.schema.wire import Wire

M = TypeVar("M", bound=Wire)

EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class Raw:
    """A stored message before anybody understood it."""

    subject: str
    sequence: int
    headers: dict[str, str]
    body: bytes
    stored_at_ns: int
    """Unix time in nanoseconds, by the broker's clock."""

    @classmethod
    def read(cls, found: RawStreamMsg) -> Raw:
        """Return what was read from a stream."""
        return cls(
            subject=found.subject or "",
            sequence=found.seq or 0,
            headers=dict(found.headers or {}),
            body=found.data or b"",
            stored_at_ns=nanoseconds(found.time if isinstance(found.time, datetime) else EPOCH),
        )

    @classmethod
    def delivered(cls, msg: Msg) -> Raw:
        """Return what a consumer delivered."""
        return cls(
            subject=msg.subject,
            sequence=msg.metadata.sequence.stream,
            headers=dict(msg.headers or {}),
            body=msg.data,
            stored_at_ns=nanoseconds(msg.metadata.timestamp),
        )


@dataclass(frozen=True)
class Kept(Generic[M]):
    """A stored message that was understood."""

    message: M
    raw: Raw
    deadline: Deadline | None
    """After this nobody wants it handled any more."""

    @property
    def subject(self) -> str:
        """Where it is stored."""
        return self.raw.subject

    @property
    def sequence(self) -> int:
        """Its position in the stream."""
        return self.raw.sequence

    @property
    def principal(self) -> str | None:
        """The signed principal that came with it."""
        return self.raw.headers.get(headers.PRINCIPAL)


class Undecodable(InvalidMessage):
    """A stored message that cannot be read, with its place, so that it can be passed over."""

    def __init__(self, cause: InvalidMessage, raw: Raw) -> None:
        super().__init__(cause.message, field=cause.field)
        self.raw = raw


def understood(raw: Raw, kind: type[M]) -> Kept[M]:
    """Return the message in `raw`.

    Raises:
        Undecodable: body or headers are not those of a `kind`.
    """
    try:
        message = decode(kind, raw.body, raw.headers.get(headers.SCHEMA))
        return Kept(message, raw, headers.deadline_of(raw.headers))
    except InvalidMessage as exc:
        raise Undecodable(exc, raw) from exc


def nanoseconds(moment: datetime) -> int:
    """Return Unix time in nanoseconds."""
    return int(moment.timestamp() * 1_000_000) * 1000
