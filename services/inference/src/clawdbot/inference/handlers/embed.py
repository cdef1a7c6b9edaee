"""Embeddings."""

from __future__ import annotations

from clawdbot.inference.ports.models import EmbeddingModel, Served
from clawdbot.schema.inference import EmbedReply, EmbedRequest, Tensor
from clawdbot.schema.messages import Usage
from clawdbot.schema.rpc import Call


class Embed:
    """Embeds with one model."""

    def __init__(self, served: Served[EmbeddingModel]) -> None:
        self._served = served

    async def embed(self, request: EmbedRequest, call: Call) -> EmbedReply:
        """Return one unit vector per text, in the order given.

        Raises:
            NotFound, TooLarge, Unavailable, Overloaded, DeadlineExceeded: as the port says.
        """
        model = self._served.get()
        made = await model.embed(request.texts, request.role, call.deadline)
        vectors = Tensor(
            name="embedding",
            dtype="float32",
            shape=made.vectors.shape,
            data=made.vectors.astype("<f4", copy=False).tobytes(),
        )
        usage = Usage(prompt_tokens=made.token_count, completion_tokens=0)
        return EmbedReply(vectors=vectors, model=model.label, usage=usage)
