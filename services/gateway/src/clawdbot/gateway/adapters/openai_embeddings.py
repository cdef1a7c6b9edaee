"""`POST /v1/embeddings`.

Source: OpenAI API reference, embeddings; the official client asks for base64 unless told
otherwise: little-endian float32.
"""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from clawdbot.gateway.adapters import metrics
from clawdbot.gateway.adapters.departure import CLIENT_LEFT, ClientLeft, while_connected
from clawdbot.gateway.adapters.fields import Body, Name, read_fields, storable
from clawdbot.gateway.adapters.openai_entrance import Entrance
from clawdbot.gateway.adapters.openai_errors import Unsupported, error_response, request_id
from clawdbot.gateway.domain.completions import Vectors
from clawdbot.gateway.domain.messages import OPENAI
from clawdbot.gateway.handlers.completions import Embed
from clawdbot.schema.errors import ClawdbotError, InvalidMessage
from clawdbot.schema.inference import Role

MAX_INPUTS = 2048
"""As OpenAI has it."""
FLOAT_BYTES = 4


class EmbeddingsBody(Body):
    """What a request may say; null is the same as nothing."""

    model: Name
    input: object
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None
    input_type: Literal["query", "passage"] | None = None
    """Not OpenAI's: what the texts are to a search. Other servers have it under this name."""


@dataclass(frozen=True)
class OpenAIEmbeddingsEndpoint:
    """Turns texts into vectors."""

    embed: Embed
    entrance: Entrance

    async def respond(self, request: Request) -> Response:
        """Return the vectors, or an error of OpenAI's form."""
        try:
            identity = await self.entrance.identify(request)
            body = read_fields(EmbeddingsBody, await self.entrance.read(request))
            with self.entrance.enter(identity):
                return await while_connected(request, self._answer(body))
        except ClientLeft:
            return Response(status_code=CLIENT_LEFT)
        except ClawdbotError as exc:
            metrics.refused.labels(OPENAI, exc.code).inc()
            return error_response(exc)

    async def _answer(self, body: EmbeddingsBody) -> Response:
        role = Role.PASSAGE if body.input_type is None else Role(body.input_type)
        vectors = await self.embed(body.model, _texts(body.input), role)
        _require_dimensions(body.dimensions, vectors)
        # Many floats as text would keep everybody else waiting.
        content = await asyncio.to_thread(_rendered, body, vectors)
        return Response(content, media_type="application/json", headers=request_id())


def _texts(given: object) -> list[str]:
    texts = given if isinstance(given, list) else [given]
    if not 0 < len(texts) <= MAX_INPUTS:
        raise _wrong_input(f"send 1 to {MAX_INPUTS} strings")
    if any(isinstance(text, int | list) for text in texts):
        raise Unsupported(
            "tokens of another tokenizer mean nothing to this model",
            field="input",
            fix="send strings instead of token numbers",
        )
    if not all(isinstance(text, str) and text for text in texts):
        raise _wrong_input("send strings that are not empty")
    return [str(storable(text)) for text in texts]


def _wrong_input(fix: str) -> InvalidMessage:
    return InvalidMessage("the field 'input' cannot be used", field="input", fix=fix)


def _require_dimensions(wanted: int | None, vectors: Vectors) -> None:
    dimensions = len(vectors.rows[0]) // FLOAT_BYTES
    if wanted not in {None, dimensions}:
        raise Unsupported(
            f"this model's vectors have {dimensions} dimensions and cannot be cut",
            field="dimensions",
            fix=f"leave it out, or send {dimensions}",
        )


def _rendered(body: EmbeddingsBody, vectors: Vectors) -> bytes:
    form = _base64 if body.encoding_format == "base64" else _floats
    return json.dumps(_record(body.model, vectors, form)).encode()


def _record(model: str, vectors: Vectors, form: Callable[[bytes], object]) -> dict[str, object]:
    data = [
        {"object": "embedding", "index": index, "embedding": form(row)}
        for index, row in enumerate(vectors.rows)
    ]
    usage = {"prompt_tokens": vectors.token_count, "total_tokens": vectors.token_count}
    return {"object": "list", "data": data, "model": model, "usage": usage}


def _base64(row: bytes) -> str:
    return base64.b64encode(row).decode("ascii")


def _floats(row: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(row) // FLOAT_BYTES}f", row))
