"""`POST /api/messages`: a signed message in, 202 once the broker keeps it."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from clawdbot.gateway.adapters import metrics
from clawdbot.gateway.adapters.body import BodyLimits, Gate, read_body
from clawdbot.gateway.adapters.doorway import vouch
from clawdbot.gateway.adapters.idempotency import read_key
from clawdbot.gateway.adapters.problems import problem_response
from clawdbot.gateway.adapters.records import Links, accepted_record
from clawdbot.gateway.adapters.signature import WebhookKey, read_signature
from clawdbot.gateway.adapters.webhook import ANY_AGE, Ages, parse_webhook
from clawdbot.gateway.domain.messages import WEBHOOK, Accepted
from clawdbot.gateway.handlers.messages import Accept
from clawdbot.schema.errors import ClawdbotError
from clawdbot.schema.ids import Tenant

_NEW = metrics.accepted.labels(WEBHOOK, "accepted")
_REPEATED = metrics.accepted.labels(WEBHOOK, "repeated")


@dataclass(frozen=True)
class WebhookEndpoint:
    """Verifies, parses and has kept, in this order: nothing is parsed that is not signed."""

    accept: Accept
    key: WebhookKey
    tenant: Tenant
    limits: BodyLimits
    gate: Gate
    links: Links
    ages: Ages = ANY_AGE

    async def respond(self, request: Request) -> Response:
        """Return 202 for a new message, 200 for a repetition, else problem details."""
        try:
            accepted = await self._accepted(request)
        except ClawdbotError as exc:
            metrics.refused.labels(WEBHOOK, exc.code).inc()
            return problem_response(exc)
        (_NEW if accepted.is_new else _REPEATED).inc()
        return JSONResponse(
            accepted_record(accepted.message, self.links),
            status_code=202 if accepted.is_new else 200,
        )

    async def _accepted(self, request: Request) -> Accepted:
        signature = read_signature(request.scope["headers"])
        raw = await read_body(request, self.limits.unverified(), self.gate)
        self.key.verify(signature, raw)
        vouch(request.scope)
        key = read_key(request.scope["headers"])
        with self.gate.enter():
            return await self.accept(parse_webhook(raw, self.tenant, self.ages, key))
