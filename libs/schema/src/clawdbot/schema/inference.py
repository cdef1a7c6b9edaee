"""What the inference service is asked and answers; it never learns who is talking.

Vectors and tensors travel as raw little-endian bytes with dtype and shape.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from clawdbot.schema.messages import Usage
from clawdbot.schema.rpc import Rpc, StreamRpc
from clawdbot.schema.wire import Wire

SERVICE = "inference"
MAX_TEXTS = 256


class ChatTurn(Wire):
    """One message of a prompt."""

    SCHEMA = "chat_turn/1"

    role: Literal["system", "user", "assistant", "tool"]
    content: str


class ChatRequest(Wire):
    """A prompt to continue."""

    SCHEMA = "chat_request/1"

    messages: tuple[ChatTurn, ...] = Field(min_length=1, max_length=1024)
    max_tokens: int = Field(default=256, ge=1, le=32_768)
    temperature: float = Field(default=0.0, ge=0.0, le=2.0)
    """0 is greedy: the same prompt gives the same text."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    repetition_penalty: float = Field(default=1.0, ge=1.0, le=2.0)
    seed: int | None = None
    stop: tuple[str, ...] = Field(default=(), max_length=8)
    json_schema: str | None = None
    """A JSON Schema that the answer follows unless it is cut (`FinishReason.LENGTH`)."""
    is_json_optional: bool = False
    """Whether text that does not begin with `{` will do as well."""


class ChatDelta(Wire):
    """Text that was just generated; complete characters only."""

    SCHEMA = "chat_delta/1"

    text: str


class FinishReason(StrEnum):
    """Why generation ended."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"
    """A person stopped it; the text is what was written until then."""


class ChatDone(Wire):
    """The whole answer."""

    SCHEMA = "chat_done/1"

    text: str
    model: str
    """Name and version that answered."""
    finish_reason: FinishReason
    usage: Usage


class CountRequest(Wire):
    """Prompts whose length matters before they are sent."""

    SCHEMA = "count_request/1"

    prompts: tuple[tuple[ChatTurn, ...], ...] = Field(min_length=1, max_length=MAX_TEXTS)


class CountReply(Wire):
    """Tokens of each prompt with the model's own template and tokenizer, in the order given."""

    SCHEMA = "count_reply/1"

    tokens: tuple[int, ...]
    context_length: int
    """Tokens that prompt and answer may have together."""


class Role(StrEnum):
    """What a text is to a retrieval model: the question, or what is searched."""

    QUERY = "query"
    PASSAGE = "passage"


class EmbedRequest(Wire):
    """Texts to turn into vectors."""

    SCHEMA = "embed_request/1"

    texts: tuple[str, ...] = Field(min_length=1, max_length=MAX_TEXTS)
    role: Role


class Tensor(Wire):
    """An array: raw little-endian bytes in C order."""

    SCHEMA = "tensor/1"

    name: str = ""
    dtype: str
    """NumPy name, such as `float32` or `int64`."""
    shape: tuple[int, ...]
    data: bytes


class EmbedReply(Wire):
    """One unit-length float32 vector per text: a tensor of shape (len(texts), dim)."""

    SCHEMA = "embed_reply/1"

    vectors: Tensor
    model: str
    """Name, version and variant; vectors of another model are not comparable with these."""
    usage: Usage


class RerankRequest(Wire):
    """Passages to order by how well they answer the query."""

    SCHEMA = "rerank_request/1"

    query: str
    passages: tuple[str, ...] = Field(min_length=1, max_length=MAX_TEXTS)


class RerankReply(Wire):
    """A score per passage, in the order given; higher is better."""

    SCHEMA = "rerank_reply/1"

    scores: tuple[float, ...]
    model: str


class InferRequest(Wire):
    """Named input tensors for any graph (Open Inference Protocol v2, `inputs`)."""

    SCHEMA = "infer_request/1"

    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...] = ()
    """Names wanted; empty means all."""


class InferReply(Wire):
    """Named output tensors."""

    SCHEMA = "infer_reply/1"

    outputs: tuple[Tensor, ...]
    model: str


class ModelState(StrEnum):
    """Where a model stands."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    UNLOADED = "unloaded"


class ModelStatus(Wire):
    """One model of a replica."""

    SCHEMA = "model_status/1"

    name: str
    version: str = ""
    kind: str = ""
    state: ModelState
    detail: str = ""
    """Why it is not ready, with the path and the command that fixes it."""


class ModelsRequest(Wire):
    """Asks which models there are."""

    SCHEMA = "models_request/1"


class ModelsReply(Wire):
    """The models of the replica that answered."""

    SCHEMA = "models_reply/1"

    models: tuple[ModelStatus, ...]


class ModelRequest(Wire):
    """Names a model to load or unload."""

    SCHEMA = "model_request/1"

    name: str
    version: str | None = None


CHAT = StreamRpc(SERVICE, "chat", ChatRequest, ChatDelta, ChatDone)
COUNT = Rpc(SERVICE, "count", CountRequest, CountReply)
EMBED = Rpc(SERVICE, "embed", EmbedRequest, EmbedReply)
RERANK = Rpc(SERVICE, "rerank", RerankRequest, RerankReply)
INFER = Rpc(SERVICE, "infer", InferRequest, InferReply)
MODELS = Rpc(SERVICE, "models", ModelsRequest, ModelsReply)
LOAD = Rpc(SERVICE, "load", ModelRequest, ModelStatus)
UNLOAD = Rpc(SERVICE, "unload", ModelRequest, ModelStatus)
