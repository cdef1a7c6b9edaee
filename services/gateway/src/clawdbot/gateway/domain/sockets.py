"""What is true of a WebSocket connection, whatever carries it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from clawdbot.schema.ids import ConversationId, Tenant
from clawdbot.schema.messages import OutboundMessage


class CloseCode(IntEnum):
    """Why a connection ends (RFC 6455, section 7.4); 4000 to 4999 are an application's own."""

    NORMAL = 1000
    BINARY = 1003
    TOO_LONG = 1009
    INTERNAL = 1011
    RESTART = 1012
    TRY_LATER = 1013
    BAD_FRAME = 4000
    UNAUTHENTICATED = 4001
    FORBIDDEN = 4003
    TOO_SLOW = 4008
    TOO_MANY = 4029


class Ending(NamedTuple):
    """How a connection is closed."""

    code: CloseCode
    reason: str
    """At most 123 bytes, as a close frame holds no more."""


RESTART = Ending(CloseCode.RESTART, "the gateway stops; connect again and resume")
TRY_LATER = Ending(CloseCode.TRY_LATER, "not now; connect again later")
INTERNAL = Ending(CloseCode.INTERNAL, "internal error")
BAD_CONNECT = Ending(CloseCode.BAD_FRAME, "the connect was refused; see its answer")
RESTORED = Ending(CloseCode.RESTART, "the stream of replies was restored; connect again")
TOO_SLOW = Ending(CloseCode.TOO_SLOW, "frames wait for too long; connect again and resume")
BINARY = Ending(CloseCode.BINARY, "frames are text")
BAD_FRAME = Ending(CloseCode.BAD_FRAME, "not a frame of type req with an id and a method")
NOT_CONNECTED = Ending(CloseCode.UNAUTHENTICATED, "the first frame must be a connect, and soon")
NO_TOKEN = Ending(CloseCode.UNAUTHENTICATED, "a valid token is needed")
TOKEN_ENDED = Ending(CloseCode.UNAUTHENTICATED, "the token has expired or was revoked")
NO_SCOPE = Ending(CloseCode.FORBIDDEN, "the token lacks the scope 'chat'")
TOO_MANY_OF_USER = Ending(CloseCode.TOO_MANY, "too many connections of this user")
TOO_MANY_OF_ADDRESS = Ending(CloseCode.TOO_MANY, "too many connections from this address")
TOO_MANY_FRAMES = Ending(CloseCode.TOO_MANY, "too many frames in a second")


class Place(NamedTuple):
    """A conversation that a connection hears of."""

    name: str
    """As its user calls it."""
    tenant: Tenant
    conversation_id: ConversationId


class Position(NamedTuple):
    """A place in the stream of replies."""

    seq: int
    stored_at_ns: int
    """Unix time, by the broker's clock."""


@dataclass(frozen=True, slots=True)
class StoredReply:
    """A reply with its place in the stream."""

    position: Position
    conversation_id: ConversationId
    message: OutboundMessage | None
    """None when it is there but cannot be read."""

    @property
    def seq(self) -> int:
        """Its number in the stream; the same on every replica."""
        return self.position.seq
