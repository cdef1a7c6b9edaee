"""`GET /v1/models` and `GET /v1/models/{model}`."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from clawdbot.gateway.adapters import metrics
from clawdbot.gateway.adapters.openai_entrance import Entrance
from clawdbot.gateway.adapters.openai_errors import error_response, request_id
from clawdbot.gateway.adapters.openai_records import model_record
from clawdbot.gateway.domain.completions import ModelUnknown, OfferedModel
from clawdbot.gateway.domain.messages import OPENAI
from clawdbot.gateway.handlers.completions import Models
from clawdbot.schema.errors import ClawdbotError


@dataclass(frozen=True)
class OpenAIModelsEndpoint:
    """Lists what can be asked."""

    models: Models
    entrance: Entrance

    async def respond(self, request: Request) -> Response:
        """Return the models that are ready, or the one that the path names."""
        try:
            await self.entrance.identify(request)
            offered = await self.models.offered()
            name = request.path_params.get("model")
            record = _listed(offered) if name is None else model_record(_named(name, offered))
        except ClawdbotError as exc:
            metrics.refused.labels(OPENAI, exc.code).inc()
            return error_response(exc)
        return JSONResponse(record, headers=request_id())


def _listed(offered: tuple[OfferedModel, ...]) -> dict[str, object]:
    return {"object": "list", "data": [model_record(model) for model in offered]}


def _named(name: str, offered: tuple[OfferedModel, ...]) -> OfferedModel:
    for model in offered:
        if model.name == name:
            return model
    raise ModelUnknown(
        "there is no such model", field="model", fix="ask GET /v1/models which there are"
    )
