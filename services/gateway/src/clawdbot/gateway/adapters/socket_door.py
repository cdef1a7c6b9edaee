"""Who may open a WebSocket, how many, and for how long they may stay."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

from clawdbot.gateway.adapters import metrics
from clawdbot.gateway.adapters.jwt_auth import Identity
from clawdbot.gateway.adapters.refusals import TokenRefused
from clawdbot.gateway.adapters.socket_frames import (
    BadFrame,
    BadRequest,
    Connect,
    Request,
    read_request,
)
from clawdbot.gateway.adapters.socket_session import Connection, Gone, Session, SocketServices
from clawdbot.gateway.domain import sockets
from clawdbot.gateway.domain.rates import RateLimited
from clawdbot.gateway.domain.sockets import Ending
from clawdbot.gateway.handlers.doorkeeper import Doorkeeper
from clawdbot.schema.errors import ClawdbotError, Forbidden, Overloaded, Unavailable
from clawdbot.schema.principal import Scope

K = TypeVar("K")

INTRODUCE_S = 5.0
"""How long a connection may take to say who it is."""
STRANGERS_SHARE = 4
"""One in so many connections may belong to somebody who has not said yet who they are."""
STRANGERS_OF_ADDRESS = 32
"""Of one address; behind a proxy that is everybody's."""
DRAIN_S = 3.0
"""How long connections may take to get what waits for them when the gateway stops."""
GONE_S = 3.0
"""How long they may take after that to leave."""


@dataclass(frozen=True)
class Handshake:
    """What the HTTP request that opens a WebSocket says."""

    address: str
    host: str
    origins: Sequence[str] = ()
    authorizations: Sequence[str] = ()


@dataclass(frozen=True)
class Guest:
    """Whose connection may be opened."""

    address: str
    token: str | None
    """What the handshake carried; None when a frame is to carry it."""
    is_counted: bool = False
    """Whether it counts as unproven until it shows who it is."""


@dataclass(frozen=True)
class DoorLimits:
    """How many, and how they are looked after."""

    connections: int = 1024
    per_user: int = 16
    heartbeat_s: float = 20.0
    origins: frozenset[str] = field(default_factory=frozenset)
    """Web pages of these may connect, beside those that we serve; lower case, without a path."""


class SocketDoor:
    """Lets connections in and looks after those that are there."""

    def __init__(
        self, services: SocketServices, limits: DoorLimits, keeper: Doorkeeper | None = None
    ) -> None:
        self._services = services
        self._limits = limits
        self._keeper = keeper
        self._open: set[Connection] = set()
        self._strangers: Counter[str] = Counter()
        self._sessions: dict[Session, float] = {}
        """Each with the time (monotonic) at which it is looked after next."""
        self._users: Counter[tuple[str, str]] = Counter()
        self._is_closing = False
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    async def greet(self, handshake: Handshake) -> Guest:
        """Return whose connection may be opened.

        Raises:
            Forbidden: a web page of a stranger asks.
            TokenRefused: it carries a token, and not a good one.
            Overloaded: too many connections, or too many of nobody known.
            RateLimited: too many of that address failed to show who they are.
            Unavailable: the gateway stops, or it cannot be told.
        """
        if self._is_closing:
            raise Unavailable("the gateway stops")
        for origin in handshake.origins:
            self._require_known(origin, handshake.host)
        if len(self._open) >= self._limits.connections:
            raise Overloaded("too many connections", retry_after_s=5.0)
        if not handshake.authorizations:
            self._require_room_for_stranger(handshake.address)
            is_counted = self._keeper is not None and self._keeper.admit(handshake.address)
            return Guest(handshake.address, None, is_counted=is_counted)
        try:
            token = await self._bearer(handshake.authorizations)
        except TokenRefused:
            if self._keeper is not None:
                self._keeper.fail(handshake.address)
            raise
        return Guest(handshake.address, token)

    def _require_known(self, origin: str, host: str) -> None:
        # Other pages cannot know a token; this keeps them from trying with a stolen one.
        if not _is_at(origin, host) and origin.lower() not in self._limits.origins:
            raise Forbidden(
                "web pages of this origin may not connect",
                fix="add the origin to gateway.socket_origins",
            )

    def _require_room_for_stranger(self, address: str) -> None:
        most = max(1, self._limits.connections // STRANGERS_SHARE)
        is_full = self._strangers.total() >= most
        if is_full or self._strangers[address] >= min(most, STRANGERS_OF_ADDRESS):
            raise Overloaded("too many connections have yet to say who they are")

    async def _bearer(self, values: Sequence[str]) -> str:
        scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
        if scheme.lower() != "bearer":
            raise TokenRefused("a valid token is needed", fix="send one 'Bearer <token>'")
        identity = await self._services.tokens.identify_token(token.strip())
        identity.require(Scope.CHAT)
        return token.strip()

    async def serve(self, connection: Connection, guest: Guest) -> None:
        """Look after one open connection until it ends.

        Args:
            connection: accepted already.
            guest: whom `greet` let in.
        """
        with self._held(connection):
            try:
                found = await self._introduced(connection, guest)
            except Gone:
                return
            if isinstance(found, Ending):
                metrics.sockets_closed.labels(str(int(found.code))).inc()
                connection.end(found)
            else:
                connection.trust()
                await self._serve_known(connection, *found)

    @contextmanager
    def _held(self, connection: Connection) -> Iterator[None]:
        self._open.add(connection)
        self._is_empty.clear()
        try:
            with metrics.sockets.track_inprogress():
                yield
        finally:
            self._open.discard(connection)
            if not self._open:
                self._is_empty.set()

    async def _introduced(
        self, connection: Connection, guest: Guest
    ) -> tuple[Request, Identity, str] | Ending:
        try:
            with self._strange(guest):
                async with asyncio.timeout(INTRODUCE_S):
                    first = read_request(await connection.receive())
                    found = await self._known(first, guest.token)
                return found if isinstance(found, Ending) else self._vouched(found, guest)
        except TimeoutError:
            return sockets.NOT_CONNECTED
        except (BadFrame, BadRequest):
            return sockets.BAD_FRAME
        except RateLimited:
            return sockets.TOO_MANY_OF_ADDRESS

    def _vouched(
        self, found: tuple[Request, Identity, str], guest: Guest
    ) -> tuple[Request, Identity, str]:
        if self._keeper is not None:
            if guest.is_counted:
                self._keeper.give_back(guest.address)
            self._keeper.vouch(guest.address)
        return found

    async def _known(
        self, first: Request, token: str | None
    ) -> tuple[Request, Identity, str] | Ending:
        if not isinstance(first.params, Connect):
            return sockets.NOT_CONNECTED
        token = first.params.token or token
        if token is None:
            return sockets.NO_TOKEN
        try:
            identity = await self._services.tokens.identify_token(token)
        except TokenRefused:
            return sockets.NO_TOKEN
        except ClawdbotError:
            return sockets.TRY_LATER
        if Scope.CHAT not in identity.scopes:
            return sockets.NO_SCOPE
        return first, identity, token

    @contextmanager
    def _strange(self, guest: Guest) -> Iterator[None]:
        if guest.token is not None:
            yield
            return
        self._strangers[guest.address] += 1
        try:
            yield
        finally:
            _decrement(self._strangers, guest.address)

    async def _serve_known(
        self, connection: Connection, first: Request, identity: Identity, token: str
    ) -> None:
        user = (identity.tenant, identity.subject)
        if self._users[user] >= self._limits.per_user:
            metrics.sockets_closed.labels(str(int(sockets.TOO_MANY_OF_USER.code))).inc()
            connection.end(sockets.TOO_MANY_OF_USER)
            return
        session = Session(self._services, connection, identity, token)
        self._users[user] += 1
        self._sessions[session] = time.monotonic() + self._limits.heartbeat_s
        try:
            await session.serve(first)
        finally:
            del self._sessions[session]
            _decrement(self._users, user)

    async def tend(self) -> None:
        """Send signs of life and look whether tokens are still good, until cancelled."""
        while True:
            await asyncio.sleep(min(1.0, self._limits.heartbeat_s / 4))
            now = time.monotonic()
            for session, due in list(self._sessions.items()):
                if due <= now and session in self._sessions:
                    self._sessions[session] = now + self._limits.heartbeat_s
                    session.tick()
                    await session.check_token()

    @asynccontextmanager
    async def closing(self) -> AsyncIterator[None]:
        """At the end of the context say goodbye to everybody, when they have what is theirs."""
        try:
            yield
        finally:
            self._is_closing = True
            for session in list(self._sessions):
                session.finish(sockets.RESTART)
            await self._until_empty(DRAIN_S)
            for session in list(self._sessions):
                session.end(sockets.RESTART)
            for connection in list(self._open):
                connection.end(sockets.RESTART)
            await self._until_empty(GONE_S)

    async def _until_empty(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_empty.wait()


def _is_at(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin.lower())
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and parts.netloc == host.lower()


def _decrement(counter: Counter[K], key: K) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
