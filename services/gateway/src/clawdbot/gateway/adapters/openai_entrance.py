"""What every request of OpenAI's clients passes first."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from clawdbot.gateway.adapters.body import BodyLimits, Gate, read_body
from clawdbot.gateway.adapters.jwt_auth import Identity, Tokens
from clawdbot.gateway.adapters.strict_json import parse_object
from clawdbot.schema.principal import Scope


@dataclass(frozen=True)
class Entrance:
    """The same tokens and bounds as for the chat API; OpenAI's "API key" is such a token."""

    tokens: Tokens
    limits: BodyLimits
    gate: Gate

    async def identify(self, request: Request) -> Identity:
        """Return who asks.

        Raises:
            TokenRefused: nobody we know.
            Forbidden: the token is not for talking.
        """
        identity = await self.tokens.identify(request)
        identity.require(Scope.CHAT)
        return identity

    async def read(self, request: Request) -> dict[str, object]:
        """Return the object in the body.

        Raises:
            Rejected: as `read_body` and `parse_object` say.
        """
        return parse_object(await read_body(request, self.limits, self.gate))
