"""`GET /api/messages/{id}`: how a message stands, for its sender."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from clawdbot.gateway.adapters.doorway import vouch
from clawdbot.gateway.adapters.jwt_auth import Tokens
from clawdbot.gateway.adapters.records import stored_record
from clawdbot.gateway.adapters.signature import HEADER, WebhookKey, read_signature
from clawdbot.gateway.domain.messages import API, WEBHOOK, MessageState, Reader
from clawdbot.gateway.handlers.messages import Inspect
from clawdbot.schema.ids import Tenant
from clawdbot.schema.messages import OutboundMessage, ReplyKind
from clawdbot.schema.principal import Scope


@dataclass(frozen=True)
class StatusEndpoint:
    """Answers whoever may ask: a token's own messages, a tenant's admin, the webhook's secret."""

    inspect: Inspect
    tokens: Tokens
    key: WebhookKey | None
    """None when the webhook is switched off."""
    webhook_tenant: Tenant

    async def respond(self, request: Request) -> Response:
        """Return the message's state and reply."""
        reader = await self._reader(request)
        message_id: str = request.path_params["message_id"]
        reply = await self.inspect(message_id, reader)
        return JSONResponse(
            {
                "message_id": message_id,
                "state": _state(reply).value,
                "reply": None if reply is None else stored_record(reply),
            }
        )

    async def _reader(self, request: Request) -> Reader:
        if self.key is not None and HEADER in request.headers:
            signature = read_signature(request.scope["headers"])
            self.key.verify(signature, request.scope["path"].encode("utf-8", "surrogatepass"))
            vouch(request.scope)
            return Reader(self.webhook_tenant, channel=WEBHOOK)
        identity = await self.tokens.identify(request)
        if Scope.ADMIN in identity.scopes:
            return Reader(identity.tenant)
        identity.require(Scope.CHAT)
        return Reader(identity.tenant, channel=API, sender_id=identity.subject)


def _state(reply: OutboundMessage | None) -> MessageState:
    if reply is None:
        return MessageState.QUEUED
    return MessageState.FAILED if reply.kind is ReplyKind.ERROR else MessageState.ANSWERED
