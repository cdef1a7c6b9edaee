"""WebSockets of this process: what they stand on, and where they come in."""

from __future__ import annotations

from dataclasses import replace

from clawdbot.gateway.adapters.bus_reply_log import BusReplyLog
from clawdbot.gateway.adapters.jwt_auth import Tokens
from clawdbot.gateway.adapters.socket_door import DoorLimits, SocketDoor
from clawdbot.gateway.adapters.socket_protocol import MAX_MESSAGE_BYTES, ASGITransport
from clawdbot.gateway.adapters.socket_server import SocketServer
from clawdbot.gateway.adapters.socket_session import SocketLimits, SocketServices
from clawdbot.gateway.domain.files import Link
from clawdbot.gateway.handlers.doorkeeper import Doorkeeper
from clawdbot.gateway.handlers.messages import Accept
from clawdbot.gateway.handlers.replies import Follower
from clawdbot.runtime.config_sections import Gateway
from clawdbot.runtime.http_server import ServerSettings, WebSocketSettings
from clawdbot.runtime.service import Runtime


def open_door(  # noqa: PLR0913 -- what every way in needs
    runtime: Runtime,
    wanted: Gateway,
    accept: Accept,
    tokens: Tokens,
    keeper: Doorkeeper,
    link: Link,
) -> SocketDoor:
    """Return what lets WebSockets in, and follow what they hear of."""
    replies = BusReplyLog(runtime.bus, link)
    follower = Follower(replies)
    runtime.spawn(follower.run(), name="replies")
    limits = SocketLimits(
        wanted.socket_conversations,
        wanted.socket_queue_frames,
        wanted.socket_queue_chars,
        wanted.socket_stall_s,
    )
    return SocketDoor(
        SocketServices(accept, tokens, follower, replies, limits),
        DoorLimits(
            wanted.socket_connections,
            wanted.socket_connections_per_user,
            wanted.socket_heartbeat_s,
            frozenset(wanted.socket_origins),
        ),
        keeper,
    )


def with_sockets(settings: ServerSettings, wanted: Gateway) -> ServerSettings:
    """Return `settings` of a server that takes WebSockets, too."""
    return replace(
        settings,
        max_connections=settings.max_connections + wanted.socket_connections,
        websocket=WebSocketSettings(ASGITransport, MAX_MESSAGE_BYTES, wanted.socket_heartbeat_s),
    )


async def tend(runtime: Runtime, door: SocketDoor) -> None:
    """Look after those who are let in, and say goodbye before their servers close."""
    runtime.spawn(door.tend(), name="sockets")
    await runtime.enter(door.closing())


async def listen_apart(runtime: Runtime, door: SocketDoor, settings: ServerSettings) -> None:
    """Take WebSockets on a port of their own, too."""
    heartbeat_s = settings.websocket.ping_s if settings.websocket else None
    await runtime.enter(SocketServer(door, heartbeat_s).open(settings))
