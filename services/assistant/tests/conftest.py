"""What the tests of the assistant share: a world of fakes, and the turns in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from clawdbot.assistant.adapters.recording import World
from clawdbot.assistant.domain.language import Language
from clawdbot.assistant.domain.limits import Limits
from clawdbot.assistant.domain.prompt import Persona
from clawdbot.assistant.handlers.stopping import Stops
from clawdbot.assistant.handlers.turns import Turns
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.delivery import Delivery
from clawdbot.schema.messages import InboundMessage

Deliver = Callable[..., Delivery[InboundMessage]]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(scope="session")
def limits() -> Limits:
    return Limits(
        context_length=2048,
        max_tokens=200,
        recall_limit=6,
        history_lines=12,
        think_timeout_s=90,
        call_timeout_s=10,
    )


@pytest.fixture(scope="session")
def personas() -> dict[Language, Persona]:
    return {
        Language.EN: Persona("You are Clawdbot.", "Told:"),
        Language.ZH: Persona("你是 Clawdbot。", "说过："),
    }


@pytest.fixture
def stops() -> Stops:
    return Stops()


@pytest.fixture
def turns(world: World, personas: dict[Language, Persona], limits: Limits, stops: Stops) -> Turns:
    return Turns(world.ports, personas, limits, stops)


@pytest.fixture(scope="session")
def delivery() -> Deliver:
    """Return what makes deliveries: the content, then any field of the message."""

    def make(content: str, attempt: int = 1, **fields: object) -> Delivery[InboundMessage]:
        known = {
            "platform": "webhook",
            "sender_id": "user123",
            "content": content,
            "timestamp": 1_672_531_200,
            "message_id": "m1",
            "tenant": "default",
            "conversation_id": "c1",
            "channel": "webhook",
            "thread_id": "t1",
            "reply_to": b"opaque",
            "accepted_at_ms": 1_699_999_999_000,
            "deadline_ms": 4_000_000_000_000,
        }
        return Delivery(
            message=InboundMessage.model_validate(known | fields),
            subject="claw.in.default.c1.m1",
            sequence=1,
            attempt=attempt,
            principal="signed",
            deadline=Deadline.after(3600),
        )

    return make
