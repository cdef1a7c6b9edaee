"""Slack's Socket Mode: what the request URLs would get, over WebSockets that we open.

`apps.connections.open` gives an address that is good for one connection, to whoever has an
app-level token. Slack says `hello`, then sends envelopes; each is acknowledged by its
`envelope_id`, and one that is not comes again, also over another connection. Slack replaces its
side from time to time and says so a little before (`disconnect`, reasons `warning` and
`refresh_requested`): the next connection is opened while the old one still speaks.

slack_sdk has a client for asyncio too. It needs aiohttp, and reads into a queue without a bound.

Source: docs.slack.dev, "Using Socket Mode", "apps.connections.open".
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from pydantic import Field
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from clawdbot.gateway.adapters.fields import Body, read_fields
from clawdbot.gateway.adapters.platforms.api import APIRequest, PlatformAPI
from clawdbot.gateway.adapters.platforms.interface import Event
from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer
from clawdbot.gateway.adapters.refusals import BadPayload
from clawdbot.gateway.adapters.strict_json import parse_object
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import InvalidMessage, Overloaded, Rejected, Unavailable

log = logging.getLogger(__name__)
wire_log = logging.getLogger(f"{__name__}.wire")
# At DEBUG it would show the address, which holds a ticket.
wire_log.setLevel(logging.WARNING)

OPEN_S = 10.0
"""For the address, for the handshake, and for Slack's hello, each."""
HEARTBEAT_S = 10.0
"""Between two pings of ours; one that is not answered as long is the end of the connection."""
MAX_FRAME_BYTES = 1_048_576
QUEUED = 64
"""Frames that are read ahead; beyond, Slack has to wait."""
CLOSE_S = 1.0
BUSY_S = 30.0
"""Slack takes ten connections of an app."""
SOON = frozenset({"warning", "refresh_requested"})
HOST = "slack.com"


class Frame(Body):
    """What Slack sends."""

    type: str
    reason: str | None = None
    envelope_id: Annotated[str, Field(max_length=256)] = ""
    accepts_response_payload: bool = False
    payload: dict[str, Any] = Field(default_factory=dict)


class Heard(NamedTuple):
    """A frame, or the end of its connection."""

    socket: ClientConnection
    data: bytes | None


class SocketMode:
    """One app's events.

    Args:
        api: of the app, which judges answers as the Web API's.
        token: the app-level token.
        api_base: where the Web API is; a test double's may be without TLS.
    """

    def __init__(self, api: PlatformAPI, token: str, api_base: str) -> None:
        self._api = api
        self._headers = {"Authorization": f"Bearer {token}"}
        self._base = urlsplit(api_base)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[Event]]:
        """See `Connects.connect`."""
        sockets = _Sockets()
        try:
            await sockets.add(await self._address())
            events = self._events(sockets)
            async with aclosing(events):
                yield events
        finally:
            await sockets.close()

    async def _events(self, sockets: _Sockets) -> AsyncGenerator[Event, None]:
        while sockets.readers:
            socket, data = await sockets.heard.get()
            if data is None:
                sockets.gone(socket)
                continue
            try:
                frame = _frame(data)
            except Unavailable as exc:
                log.warning("frame not understood", extra={"code": exc.code})
                continue
            if frame.type == "disconnect":
                if frame.reason not in SOON:
                    raise _ended(frame.reason)
                await self._replace(sockets, socket)
            elif frame.envelope_id:
                yield _event(frame, socket)

    async def _replace(self, sockets: _Sockets, old: ClientConnection) -> None:
        # The warning comes on a connection that is replaced already, too.
        if sockets.newest is old:
            await sockets.add(await self._address())

    async def _address(self) -> str:
        request = APIRequest.of_json("/apps.connections.open", {}, self._headers)
        deadline = Deadline.after(OPEN_S)
        try:
            answer = await self._api.call(request, deadline=deadline)
        except Rejected as exc:
            fix = (
                "make an app-level token (xapp-) with connections:write, and switch on Socket Mode"
            )
            code = exc.message.rpartition(": ")[2]
            raise Rejected(f"slack does not let us connect: {code}", fix=fix) from None
        url = answer.data.get("url")
        if not isinstance(url, str) or not self._is_theirs(url):
            raise Unavailable("slack gave no address to connect to")
        return url

    def _is_theirs(self, url: str) -> bool:
        try:
            found = urlsplit(url)
            host = found.hostname or ""
        except ValueError:
            return False
        if host == self._base.hostname:
            return found.scheme == ("wss" if self._base.scheme == "https" else "ws")
        is_slack = host.endswith((f".{HOST}", ".slack-gov.com"))
        return found.scheme == "wss" and is_slack


class _Sockets:
    """The connection, and beside it the one that it replaces."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[Heard] = asyncio.Queue(QUEUED)
        self.readers: dict[ClientConnection, asyncio.Task[None]] = {}
        self.newest: ClientConnection | None = None

    async def add(self, url: str) -> None:
        """Connect, and wait for the hello.

        Raises:
            Unavailable: neither came.
            Overloaded: there are too many connections of this app.
            Rejected: Socket Mode is off.
        """
        socket = await _opened(url)
        self.readers[socket] = asyncio.create_task(self._read(socket), name="slack-socket")
        self.newest = socket

    def gone(self, socket: ClientConnection) -> None:
        """Forget a connection that ended."""
        self.readers.pop(socket, None)

    async def _read(self, socket: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            while True:
                await self.heard.put(Heard(socket, await socket.recv(decode=False)))
        await self.heard.put(Heard(socket, None))

    async def close(self) -> None:
        """Leave."""
        for task in self.readers.values():
            task.cancel()
        await asyncio.gather(*self.readers.values(), return_exceptions=True)
        await asyncio.gather(*(socket.close() for socket in self.readers))


async def _opened(url: str) -> ClientConnection:
    try:
        socket = await connect(
            url,
            proxy=None,
            open_timeout=OPEN_S,
            ping_interval=HEARTBEAT_S,
            ping_timeout=HEARTBEAT_S,
            close_timeout=CLOSE_S,
            max_size=MAX_FRAME_BYTES,
            compression=None,
            logger=wire_log,
        )
    # Without text and cause: they may name the address, and that holds a ticket.
    except (OSError, TimeoutError, InvalidHandshake, InvalidURI) as exc:
        failure = Unavailable(f"slack's socket cannot be opened: {type(exc).__name__}")
        raise failure from None
    try:
        async with asyncio.timeout(OPEN_S):
            frame = _frame(await socket.recv(decode=False))
        if frame.type != "hello":
            raise _ended(frame.reason)
    except (ConnectionClosed, TimeoutError):
        await socket.close()
        raise Unavailable("slack's socket did not say hello") from None
    except BaseException:
        await socket.close()
        raise
    return socket


def _frame(data: bytes) -> Frame:
    try:
        return read_fields(Frame, parse_object(data))
    except (BadPayload, InvalidMessage) as exc:
        raise Unavailable("slack's socket speaks something else") from exc


def _ended(reason: str | None) -> Rejected | Unavailable | Overloaded:
    if reason == "link_disabled":
        return Rejected(
            "Socket Mode is switched off at slack", fix="switch it on, or use connection: webhook"
        )
    if reason == "too_many_websockets":
        return Overloaded("slack has too many connections of this app", retry_after_s=BUSY_S)
    return Unavailable("slack ended the connection")


def _event(frame: Frame, socket: ClientConnection) -> Event:
    return Event(_payload(frame), partial(_acknowledge, frame, socket), _leave)


async def _acknowledge(frame: Frame, socket: ClientConnection, answer: HTTPAnswer) -> None:
    told: dict[str, Any] = {"envelope_id": frame.envelope_id}
    if frame.accepts_response_payload and answer.content_type == "application/json":
        told["payload"] = json.loads(answer.body)
    # Over another connection Slack does not take it; it sends again what it did not hear of.
    with suppress(ConnectionClosed):
        await socket.send(json.dumps(told))


async def _leave() -> None:
    """Slack sends again what nobody acknowledged."""


def _payload(frame: Frame) -> bytes:
    """Return the body that the request URL would have got."""
    if frame.type == "slash_commands":
        fields = {name: value for name, value in frame.payload.items() if isinstance(value, str)}
        return urlencode(fields).encode()
    payload = json.dumps(frame.payload)
    if frame.type == "interactive":
        return urlencode({"payload": payload}).encode()
    return payload.encode()
