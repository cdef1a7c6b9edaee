"""Chat and token counts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from clawdbot.inference.domain.answer import Answer
from clawdbot.inference.domain.sampling import Sampling
from clawdbot.inference.ports.models import ChatModel, Served
from clawdbot.schema.errors import InvalidMessage, TooLarge
from clawdbot.schema.inference import (
    ChatDelta,
    ChatDone,
    ChatRequest,
    ChatTurn,
    CountReply,
    CountRequest,
    FinishReason,
)
from clawdbot.schema.messages import Usage
from clawdbot.schema.rpc import Call

CHARACTERS_PER_TOKEN = 16
"""More than any text has on average; a prompt with more than this cannot fit the context."""
MAX_COUNT_CHARACTERS = 512 * 1024
"""Of all prompts of one count: encoding keeps the whole process from doing anything else."""
MAX_STOP_CHARACTERS = 256


class Chat:
    """Answers for one chat model."""

    def __init__(self, served: Served[ChatModel]) -> None:
        self._served = served

    async def chat(
        self, request: ChatRequest, call: Call
    ) -> AsyncGenerator[ChatDelta | ChatDone, None]:
        """Yield the answer as it is generated, then the whole of it.

        Raises:
            InvalidMessage: the prompt is longer than the context, or the request asks for what
                the model cannot do.
            TooLarge: the prompt has too many characters to be worth encoding.
            NotFound, Unavailable, Overloaded, DeadlineExceeded: as the model's port says.
        """
        model = self._served.get()
        _refuse_stopped_json(request)
        _refuse_long_stop(request)
        limit_characters = CHARACTERS_PER_TOKEN * model.context_length
        _refuse_longer([request.messages], limit_characters, field="messages")
        [prompt] = await model.prompts([request.messages])
        limit = _room(prompt, request, model)
        answer = Answer(model.decode, request.stop)
        tokens = model.generate(prompt, _sampling(request), limit=limit, deadline=call.deadline)
        async with aclosing(tokens):
            async for token in tokens:
                if text := answer.push(token):
                    yield ChatDelta(text=text)
                if answer.is_stopped:
                    break
        if text := answer.finish():
            yield ChatDelta(text=text)
        yield _done(model, answer, len(prompt), limit)

    async def count(self, request: CountRequest, call: Call) -> CountReply:
        """Return how many tokens each prompt has with this model.

        Raises:
            TooLarge: the prompts have too many characters together.
        """
        del call
        model = self._served.get()
        _refuse_longer(request.prompts, MAX_COUNT_CHARACTERS, field="prompts")
        prompts = await model.prompts(request.prompts)
        return CountReply(
            tokens=tuple(map(len, prompts)),
            context_length=model.context_length,
        )


def _refuse_stopped_json(request: ChatRequest) -> None:
    if request.json_schema is not None and request.stop:
        raise InvalidMessage(
            "a stop string could cut the JSON that json_schema asks for",
            field="stop",
            fix="leave stop out",
        )


def _refuse_long_stop(request: ChatRequest) -> None:
    if any(len(stop) > MAX_STOP_CHARACTERS for stop in request.stop):
        raise InvalidMessage(
            f"a stop string may have {MAX_STOP_CHARACTERS} characters", field="stop"
        )


def _refuse_longer(prompts: Sequence[Sequence[ChatTurn]], limit: int, *, field: str) -> None:
    count = sum(len(turn.content) for turns in prompts for turn in turns)
    if count > limit:
        raise TooLarge(
            f"the request has {count} characters and may have {limit}",
            field=field,
            fix="shorten it",
        )


def _room(prompt: Sequence[int], request: ChatRequest, model: ChatModel) -> int:
    """Return how many tokens the answer may have."""
    room = model.context_length - len(prompt)
    if room < 1:
        raise InvalidMessage(
            f"the prompt has {len(prompt)} tokens and leaves no room for an answer: "
            f"prompt and answer may have {model.context_length} together",
            field="messages",
            fix="shorten the prompt, or raise models.context_length in config.yaml",
        )
    return min(request.max_tokens, room)


def _sampling(request: ChatRequest) -> Sampling:
    return Sampling(
        temperature=request.temperature,
        top_p=request.top_p,
        repetition_penalty=request.repetition_penalty,
        seed=request.seed,
        json_schema=request.json_schema,
        is_json_optional=request.is_json_optional,
    )


def _done(model: ChatModel, answer: Answer, prompt_tokens: int, limit: int) -> ChatDone:
    is_cut = answer.token_count >= limit and not answer.is_stopped
    return ChatDone(
        text=answer.text,
        model=model.label,
        finish_reason=FinishReason.LENGTH if is_cut else FinishReason.STOP,
        usage=Usage(prompt_tokens=prompt_tokens, completion_tokens=answer.token_count),
    )
