"""The shipped chat model, made to follow schemas."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from clawdbot.inference.adapters.loading import Limits, Source, load_chat
from clawdbot.inference.adapters.onnx_chat import ONNXChatModel
from clawdbot.inference.handlers.chat import Chat
from clawdbot.inference.ports.fakes import Fixed
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import InvalidMessage
from clawdbot.schema.inference import ChatDone, ChatRequest, ChatTurn, FinishReason
from clawdbot.schema.rpc import Call

pytestmark = pytest.mark.models

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "mood": {"enum": ["happy", "sad", "开心"]},
    },
    "required": ["name", "age", "mood"],
    "additionalProperties": False,
}
SCHEMAS: dict[str, dict[str, Any]] = {
    "person": PERSON,
    "people": {"type": "array", "items": PERSON, "minItems": 1, "maxItems": 2},
    "code": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{2,4}$"},
    "flag": {"type": "boolean"},
    "either": {"anyOf": [{"type": "null"}, {"type": "number", "minimum": -5, "maximum": 5}]},
    "free object": {"type": "object"},
    "date": {"type": "string", "format": "date"},
}


@pytest.fixture
async def chat(models_dir: Path) -> AsyncIterator[ONNXChatModel]:
    limits = Limits(threads=2, max_queue=64, slots=4, context_length=1024)
    source = Source("smollm2-135m-instruct", models_dir)
    model = (await asyncio.to_thread(load_chat, source, limits)).model
    model.start()
    yield model
    await asyncio.to_thread(model.close)


async def ask(model: ONNXChatModel, question: str, **wanted: Any) -> ChatDone:
    turn = ChatTurn(role="user", content=question)
    request = ChatRequest(messages=(turn,), **{"max_tokens": 120, **wanted})
    items = [item async for item in Chat(Fixed(model)).chat(request, Call(Deadline.after(100)))]
    assert isinstance(items[-1], ChatDone)
    return items[-1]


@pytest.mark.parametrize("name", SCHEMAS)
async def test_every_complete_answer_follows_the_schema(chat: ONNXChatModel, name: str) -> None:
    schema = SCHEMAS[name]
    answers = await asyncio.gather(
        *(
            ask(
                chat,
                "Tell me about Ada 😀 in JSON.",
                json_schema=json.dumps(schema),
                temperature=temperature,
                seed=seed,
            )
            for seed, temperature in enumerate((0.0, 0.5, 1.0, 2.0))
        )
    )

    complete = [answer for answer in answers if answer.finish_reason is FinishReason.STOP]
    for answer in complete:
        Draft202012Validator(schema).validate(json.loads(answer.text))
    assert complete or name == "free object"


async def test_a_free_answer_beside_guided_ones_is_the_answer_alone(chat: ONNXChatModel) -> None:
    alone = await ask(chat, "What is the capital of France?")
    guided = json.dumps(PERSON)

    together, *_ = await asyncio.gather(
        ask(chat, "What is the capital of France?"),
        *(ask(chat, "Who is Ada?", json_schema=guided) for _ in range(3)),
    )

    assert together == alone


async def test_an_optional_form_leaves_text_as_it_would_be(chat: ONNXChatModel) -> None:
    question = "What is the capital of France?"
    alone = await ask(chat, question)

    optional = await ask(chat, question, json_schema=json.dumps(PERSON), is_json_optional=True)

    assert optional == alone


async def test_a_schema_that_cannot_be_followed_takes_no_slot(chat: ONNXChatModel) -> None:
    with pytest.raises(InvalidMessage, match="uniqueItems"):
        await ask(chat, "hi", json_schema='{"type": "array", "uniqueItems": true}')

    assert (await ask(chat, "hi", max_tokens=2)).usage.completion_tokens == 2
