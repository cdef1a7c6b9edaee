"""Answers for programs: from a bare model, or from the assistant that remembers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from clawdbot.gateway.domain.completions import (
    ASSISTANT,
    CompletionEvent,
    Finished,
    ModelUnknown,
    OfferedModel,
    Piece,
    Vectors,
)
from clawdbot.gateway.domain.continued_text import ContinuedText
from clawdbot.gateway.domain.messages import Submission, error_of
from clawdbot.gateway.domain.tool_calls import CallText, Toolbox
from clawdbot.gateway.handlers.messages import Converse, Patience
from clawdbot.gateway.ports import Inference
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.inference import (
    MAX_TEXTS,
    ChatDelta,
    ChatDone,
    ChatRequest,
    EmbedRequest,
    FinishReason,
    ModelState,
    Role,
)
from clawdbot.schema.messages import Delta, OutboundMessage, Usage

CHAT, EMBEDDING = "chat", "embedding"
"""Kinds of models, as the inference service names them."""
LOOK_UP_S = 2.0
NO_USAGE = Usage(prompt_tokens=0, completion_tokens=0)
"""Of an answer that no model wrote."""


class Models:
    """Knows which models can be asked."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    async def offered(self) -> tuple[OfferedModel, ...]:
        """Return the assistant, and every bare model that is ready."""
        statuses = await self._inference.models(deadline=Deadline.after(LOOK_UP_S))
        ready = (status for status in statuses if status.state is ModelState.READY)
        bare = (OfferedModel(status.name, status.kind) for status in ready)
        return (OfferedModel(ASSISTANT, "assistant"), *bare)

    async def require(self, name: str, kind: str) -> None:
        """Pass when the bare model `name` is a `kind` and can answer.

        Raises:
            ModelUnknown: there is none.
            Unavailable: it is not ready.
        """
        for status in await self._inference.models(deadline=Deadline.after(LOOK_UP_S)):
            if (status.name, status.kind) == (name, kind):
                if status.state is ModelState.READY:
                    return
                detail = f": {status.detail}" if status.detail else ""
                raise Unavailable(f"model {name!r} is {status.state.value}{detail}")
        raise ModelUnknown(
            f"no {kind} model is called {name!r}",
            field="model",
            fix="ask GET /v1/models which there are",
        )


class Complete:
    """Has a bare model continue a conversation; nothing is kept."""

    def __init__(self, inference: Inference, models: Models, patience: Patience) -> None:
        self._inference = inference
        self._models = models
        self._patience = patience

    async def __call__(
        self, model: str, request: ChatRequest, toolbox: Toolbox | None = None
    ) -> AsyncGenerator[CompletionEvent, None]:
        """Yield the answer's pieces, then the whole; it may be a call when there is a toolbox.

        Leaving the generator frees the model.

        Raises:
            ModelUnknown: no chat model has that name.
            ClawdbotError: as the inference service reports it.
        """
        deadline = Deadline.after(self._patience.chat_s)
        await self._models.require(model, CHAT)
        calls = CallText() if toolbox else None
        async with aclosing(self._inference.chat(model, request, deadline=deadline)) as answer:
            async for item in answer:
                for event in _read(item, calls):
                    yield event


class AskAssistant:
    """Has the assistant answer a message, which is kept and remembered like any other."""

    def __init__(self, converse: Converse) -> None:
        self._converse = converse

    async def __call__(self, submission: Submission) -> AsyncGenerator[CompletionEvent, None]:
        """Yield `Accepted`, pieces and waits, then the whole.

        Raises:
            ClawdbotError: as `Converse`, or what the reply reports instead of an answer.
        """
        text = ContinuedText()
        async with aclosing(self._converse(submission)) as events:
            async for event in events:
                if isinstance(event, OutboundMessage):
                    yield _finished(event, text)
                elif not isinstance(event, Delta):
                    yield event
                elif shown := text.push(event.index, event.text):
                    yield Piece(shown)


class Embed:
    """Has an embedding model turn texts into vectors."""

    def __init__(self, inference: Inference, models: Models, patience: Patience) -> None:
        self._inference = inference
        self._models = models
        self._patience = patience

    async def __call__(self, model: str, texts: Sequence[str], role: Role) -> Vectors:
        """Return one vector per text, in the order given.

        Raises:
            ModelUnknown: no embedding model has that name.
            ClawdbotError: as the inference service reports it.
        """
        deadline = Deadline.after(self._patience.chat_s)
        await self._models.require(model, EMBEDDING)
        rows: list[bytes] = []
        tokens = 0
        for start in range(0, len(texts), MAX_TEXTS):
            request = EmbedRequest(texts=tuple(texts[start : start + MAX_TEXTS]), role=role)
            reply = await self._inference.embed(model, request, deadline=deadline)
            rows += _rows(reply.vectors.data, len(request.texts))
            tokens += reply.usage.prompt_tokens
        return Vectors(tuple(rows), tokens)


def _read(item: ChatDelta | ChatDone, calls: CallText | None) -> Sequence[CompletionEvent]:
    if isinstance(item, ChatDelta):
        return [Piece(item.text)] if calls is None else calls.push(item.text)
    reason, is_cut = item.finish_reason.value, item.finish_reason is FinishReason.LENGTH
    if calls is None:
        return [Finished(item.text, "", reason, item.usage, item.model)]
    call = calls.call(is_cut=is_cut)
    reason = reason if call is None or is_cut else "tool_calls"
    whole = Finished(item.text, "", reason, item.usage, item.model, call)
    return [*calls.finish(is_cut=is_cut), whole]


def _finished(reply: OutboundMessage, text: ContinuedText) -> Finished:
    if error := error_of(reply):
        raise error
    return Finished(
        text=reply.content,
        rest=text.finish(reply.content),
        finish_reason=reply.metadata.finish_reason or "stop",
        usage=reply.metadata.usage or NO_USAGE,
        backend=reply.metadata.model,
    )


def _rows(data: bytes, count: int) -> list[bytes]:
    width = len(data) // count
    return [data[index * width : (index + 1) * width] for index in range(count)]
