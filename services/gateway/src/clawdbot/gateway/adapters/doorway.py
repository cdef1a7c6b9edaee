"""What the application does not see of a request before somebody vouches for it.

A request's body is first asked for after route, method and headers were checked; that is when an
unproven one is counted against its address. An endpoint says `vouch(scope)` as soon as it knows
who sent the request, and before it waits for anything else.
"""

from __future__ import annotations

from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clawdbot.gateway.adapters.client_address import client_address
from clawdbot.gateway.adapters.problems import problem_response
from clawdbot.gateway.domain.rates import RateLimited
from clawdbot.gateway.handlers.doorkeeper import Doorkeeper
from clawdbot.schema.errors import ClawdbotError

_PASSAGE = "clawdbot.passage"


def vouch(scope: Scope) -> None:
    """Note that the request of `scope` is authentic.

    Raises:
        RateLimited: there were too many from its address.
    """
    passage = scope.get(_PASSAGE)
    if isinstance(passage, _Passage):
        passage.vouch()


class Doorway:
    """Wraps the application; asks the doorkeeper about each request (ASGI)."""

    def __init__(self, app: ASGIApp, keeper: Doorkeeper) -> None:
        self._app = app
        self._keeper = keeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        passage = _Passage(self._keeper, scope, receive, send)
        await self._app({**scope, _PASSAGE: passage}, passage.receive, passage.send)


class _Passage:
    """One request on its way in."""

    def __init__(self, keeper: Doorkeeper, scope: Scope, receive: Receive, send: Send) -> None:
        self._keeper = keeper
        self._scope = scope
        self._receive = receive
        self._send = send
        self._address = client_address(scope)
        self._is_vouched_for = False
        self._is_admitted = False
        """Whether its body may be read."""
        self._is_counted = False
        """Whether it counts as a failure until somebody vouches for it."""
        self._is_turned_away = False
        """Whether its body stays unread for good."""
        self._is_answered = False
        """Whether the application's answer was replaced by ours."""

    def vouch(self) -> None:
        """See the module's `vouch`."""
        if self._is_vouched_for:
            return
        self._is_vouched_for = True
        if self._is_counted:
            self._is_counted = False
            self._keeper.give_back(self._address)
        self._keeper.vouch(self._address)

    async def receive(self) -> Message:
        """Return what comes next of the body (ASGI).

        Raises:
            RateLimited, Unavailable: nobody vouched for the request, and its address is not read.
        """
        if not self._is_vouched_for and not self._is_admitted:
            try:
                self._is_counted = self._keeper.admit(self._address)
            except ClawdbotError:
                self._is_turned_away = True
                raise
            self._is_admitted = True
        return await self._receive()

    async def send(self, message: Message) -> None:
        """Pass on what the application answers, unless it has failed too often (ASGI)."""
        if self._is_answered:
            return
        if message["type"] == "http.response.start":
            self._note(message["status"])
            if (error := self._over(message["status"])) is not None:
                self._is_answered = True
                await problem_response(error)(self._scope, self._receive, self._send)
                return
            if self._is_turned_away:
                # What is left of the body was not read, so the connection cannot go on.
                closing = (b"connection", b"close")
                message = {**message, "headers": [*message.get("headers", ()), closing]}
        await self._send(message)

    def _note(self, status: int) -> None:
        # Nobody gets this who failed, whether or not the endpoint said that it knows them.
        if self._is_counted and status < HTTPStatus.BAD_REQUEST:
            self._is_counted = False
            self._keeper.give_back(self._address)

    def _over(self, status: int) -> RateLimited | None:
        if status != HTTPStatus.UNAUTHORIZED or self._is_vouched_for or self._is_counted:
            return None
        try:
            self._keeper.fail(self._address)
        except RateLimited as exc:
            return exc
        self._is_counted = True
        return None
