"""What every request of OpenAI's clients passes first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from starlette.requests import Request

from clawdbot.gateway.adapters.body import BodyLimits, Gate, read_body
from clawdbot.gateway.adapters.jwt_auth import Identity, Tokens
from clawdbot.gateway.adapters.strict_json import parse_object
from clawdbot.gateway.handlers.callers import Callers
from clawdbot.schema.principal import Scope


@dataclass(frozen=True)
class Entrance:
    """The same tokens and bounds as for the chat API; OpenAI's "API key" is such a token."""

    tokens: Tokens
    limits: BodyLimits
    gate: Gate
    callers: Callers | None = None
    """None lets every token's holder ask as often as they like."""

    async def identify(self, request: Request) -> Identity:
        """Return who asks.

        Raises:
            TokenRefused: nobody we know.
            Forbidden: the token is not for talking.
            Overloaded: its holder asks too often.
        """
        identity = await self.tokens.identify(request)
        identity.require(Scope.CHAT)
        if self.callers is not None:
            self.callers.count(identity.tenant, identity.subject)
        return identity

    async def read(self, request: Request) -> dict[str, object]:
        """Return the object in the body.

        Raises:
            Rejected: as `read_body` and `parse_object` say.
        """
        return parse_object(await read_body(request, self.limits, self.gate))

    @contextmanager
    def enter(self, identity: Identity) -> Iterator[None]:
        """Hold a place to wait for an answer, of all places and of the holder's own.

        Raises:
            Overloaded: none is free.
        """
        with self.gate.enter(), self._own_place(identity):
            yield

    def _own_place(self, identity: Identity) -> AbstractContextManager[None]:
        if self.callers is None:
            return nullcontext()
        return self.callers.enter(identity.tenant, identity.subject)
