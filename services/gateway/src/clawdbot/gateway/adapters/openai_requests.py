"""The payload of a chat completion request.

Source: OpenAI API reference, chat completions (create), as the official client 3.54 types it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, Strict

from clawdbot.gateway.adapters.fields import Body, Name, read_fields, storable
from clawdbot.gateway.adapters.openai_errors import Unsupported
from clawdbot.gateway.adapters.openai_messages import MessageBody, read_turns
from clawdbot.gateway.adapters.openai_tools import read_schema, read_toolbox
from clawdbot.gateway.domain.completions import ASSISTANT
from clawdbot.gateway.domain.tool_calls import Toolbox
from clawdbot.schema.errors import InvalidMessage
from clawdbot.schema.inference import ChatRequest, ChatTurn

MAX_MESSAGES = 1024
MAX_STOPS = 8
MAX_STOP_CHARS = 256
MOST_TOKENS = 32_768
"""What is asked for without a limit: the model's context ends it before."""
LEAST_TOP_P = 1e-6
"""Stands for 0: only the most likely token is ever drawn."""

_HARMLESS: dict[str, tuple[object, ...]] = {
    "n": (None, 1),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "logit_bias": (None, {}),
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
    "functions": (None, []),
    "function_call": (None, "none"),
    "audio": (None,),
    "modalities": (None, [], ["text"]),
    "web_search_options": (None,),
}
"""Parameters that change what the answer is, with the values that ask for nothing."""
_NOT_FOR_ASSISTANT: dict[str, tuple[object, ...]] = {
    "stop": (None, "", []),
    "tools": (None, []),
    "tool_choice": (None, "none", "auto"),
    "response_format": (None, {"type": "text"}),
}


class StreamOptions(Body):
    """How a stream is sent."""

    include_usage: bool | None = None


class CompletionBody(Body):
    """What a request may say; null is the same as nothing."""

    model: Name
    messages: Annotated[
        tuple[MessageBody, ...], Field(min_length=1, max_length=MAX_MESSAGES), Strict(False)
    ]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=1, le=2)] | None = None
    """Not OpenAI's; other servers have it under this name."""
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: object = None
    tools: object = None
    tool_choice: object = None
    response_format: object = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Name | None = None
    metadata: object = None


@dataclass(frozen=True)
class CompletionRequest:
    """A question of a program, and how it wants the answer."""

    body: CompletionBody
    turns: tuple[ChatTurn, ...]
    stop: tuple[str, ...]
    json_schema: str | None = None
    """What the answer has to follow, besides any tools."""
    toolbox: Toolbox | None = None

    @property
    def model(self) -> str:
        """The model's name, as asked for."""
        return self.body.model

    @property
    def is_for_assistant(self) -> bool:
        """Whether the assistant is asked, and no bare model."""
        return self.body.model == ASSISTANT

    @property
    def wants_stream(self) -> bool:
        """Whether the answer is sent while it is written."""
        return bool(self.body.stream)

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        options = self.body.stream_options
        return bool(options and options.include_usage)

    def chat_request(self) -> ChatRequest:
        """Return what a bare model is asked."""
        body = self.body
        wanted = body.max_completion_tokens or body.max_tokens or MOST_TOKENS
        tools = self.toolbox
        return ChatRequest(
            messages=tools.told(self.turns) if tools else self.turns,
            max_tokens=min(wanted, MOST_TOKENS),
            temperature=1.0 if body.temperature is None else body.temperature,
            top_p=1.0 if body.top_p is None else max(body.top_p, LEAST_TOP_P),
            repetition_penalty=body.repetition_penalty or 1.0,
            seed=body.seed,
            stop=self.stop,
            json_schema=tools.schema() if tools else self.json_schema,
            is_json_optional=tools is not None and not tools.is_required,
        )


def parse_completion(values: Mapping[str, Any]) -> CompletionRequest:
    """Return the request in `values`.

    Raises:
        InvalidMessage: a field is missing or wrong.
        Unsupported: a parameter asks for what is not there; others that we do not know are
            ignored.
    """
    body = read_fields(CompletionBody, values)
    _refuse(values, _HARMLESS, "is not supported")
    if body.model == ASSISTANT:
        _refuse(values, _NOT_FOR_ASSISTANT, f"is not supported by the model {ASSISTANT!r}")
    schema = read_schema(body.response_format)
    toolbox = read_toolbox(body.tools, body.tool_choice)
    if schema is not None and toolbox is not None:
        raise Unsupported(
            "the parameter 'response_format' cannot be combined with tools",
            field="response_format",
            fix="leave it out, or send tool_choice 'none'",
        )
    return CompletionRequest(body, read_turns(body.messages), _stops(body.stop), schema, toolbox)


def _refuse(
    values: Mapping[str, Any], harmless: Mapping[str, tuple[object, ...]], why: str
) -> None:
    for name, allowed in harmless.items():
        if values.get(name) not in allowed:
            raise Unsupported(f"the parameter {name!r} {why}", field=name, fix="leave it out")


def _stops(stop: object) -> tuple[str, ...]:
    given = [stop] if isinstance(stop, str) else stop or []
    if not isinstance(given, list) or len(given) > MAX_STOPS:
        raise _wrong_stop()
    if not all(isinstance(item, str) and len(item) <= MAX_STOP_CHARS for item in given):
        raise _wrong_stop()
    return tuple(str(storable(item)) for item in given if item)


def _wrong_stop() -> InvalidMessage:
    return InvalidMessage(
        "the field 'stop' cannot be used",
        field="stop",
        fix=f"send a string or at most {MAX_STOPS}, each of at most {MAX_STOP_CHARS} characters",
    )
