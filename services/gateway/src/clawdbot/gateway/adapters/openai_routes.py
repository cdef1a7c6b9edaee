"""Which path below `/v1` is served by what."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import FastAPI

from clawdbot.gateway.adapters.edge import METHODS
from clawdbot.gateway.adapters.openai_chat import OpenAIChatEndpoint
from clawdbot.gateway.adapters.openai_embeddings import OpenAIEmbeddingsEndpoint
from clawdbot.gateway.adapters.openai_entrance import Entrance
from clawdbot.gateway.adapters.openai_errors import respond_unknown
from clawdbot.gateway.adapters.openai_models import OpenAIModelsEndpoint
from clawdbot.gateway.handlers.completions import AskAssistant, Complete, Embed, Models
from clawdbot.gateway.handlers.messages import Converse, Patience
from clawdbot.gateway.ports import Inference

CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"
MODELS = "/v1/models"
MODEL = "/v1/models/{model}"
OTHER = "/v1/{rest:path}"


@dataclass(frozen=True)
class OpenAIEndpoints:
    """What is served to OpenAI's clients."""

    chat: OpenAIChatEndpoint
    embeddings: OpenAIEmbeddingsEndpoint
    models: OpenAIModelsEndpoint

    @classmethod
    def over(
        cls, inference: Inference, converse: Converse, patience: Patience, entrance: Entrance
    ) -> OpenAIEndpoints:
        """Return the endpoints of these models and this assistant."""
        models = Models(inference)
        complete = Complete(inference, models, patience)
        return cls(
            OpenAIChatEndpoint(complete, AskAssistant(converse), entrance),
            OpenAIEmbeddingsEndpoint(Embed(inference, models, patience), entrance),
            OpenAIModelsEndpoint(models, entrance),
        )

    def add_to(self, app: FastAPI) -> None:
        """Serve them; whatever else is asked below `/v1` gets an error of OpenAI's form."""
        app.add_route(CHAT, self.chat.respond, methods=["POST"])
        app.add_route(EMBEDDINGS, self.embeddings.respond, methods=["POST"])
        app.add_route(MODELS, self.models.respond, methods=["GET"])
        app.add_route(MODEL, self.models.respond, methods=["GET"])
        app.add_route(OTHER, respond_unknown, methods=sorted(METHODS))


def openai_template(path: str) -> str | None:
    """Return what names the route of a path below `/v1`; None for any other path."""
    if path in {CHAT, EMBEDDINGS, MODELS}:
        return path
    below = path.removeprefix(f"{MODELS}/")
    if below != path and "/" not in below:
        return MODEL
    return "/v1/{rest}" if path.startswith("/v1/") else None
