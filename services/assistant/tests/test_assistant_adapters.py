"""The way over the bus: addresses, targets, deadlines, and what is counted."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import suppress

import pytest

from clawdbot.assistant.adapters.deltas import BusDeltas
from clawdbot.assistant.adapters.executor_client import ExecutorClient
from clawdbot.assistant.adapters.memory_client import MemoryClient
from clawdbot.assistant.adapters.metrics import MeasuredTurns, turns_total
from clawdbot.assistant.adapters.model_client import ModelClient
from clawdbot.assistant.adapters.outbox import BusOutbox
from clawdbot.assistant.domain.turn import Mandate
from clawdbot.runtime.bus import Stored
from clawdbot.schema import inference, memory, subjects
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ErrorReply, NotFound, Unavailable
from clawdbot.schema.executor import PlanReply, PlanRequest, Risk
from clawdbot.schema.messages import DeltaEnd, OutboundMessage, Usage

MANDATE = Mandate("signed", Deadline.after(3600))
REQUEST = inference.ChatRequest(messages=(inference.ChatTurn(role="user", content="hi"),))
DONE = inference.ChatDone(
    text="ab",
    model="m/1",
    finish_reason=inference.FinishReason.STOP,
    usage=Usage(prompt_tokens=1, completion_tokens=2),
)


class RecordingBus:
    """Answers every call with `answers` in turn and records how it was made."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[object, object, dict[str, object]]] = []
        self.has_left = False

    async def call(self, rpc, request, **options):
        self.calls.append((rpc, request, options))
        return self.answers.pop(0)

    async def stream(self, rpc, request, **options) -> AsyncGenerator[object, None]:
        self.calls.append((rpc, request, options))
        try:
            for answer in self.answers:
                yield answer
        finally:
            self.has_left = True

    async def store_once(self, subject, message, **options):
        self.calls.append((subject, message, options))
        return Stored(1, is_new=not self.answers)

    async def broadcast(self, subject, message):
        self.calls.append((subject, message, {}))


class ScriptedTurns:
    """A handler that raises `error` when there is one."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.told: list[ErrorReply] = []

    async def handle(self, delivery):
        if self.error is not None:
            raise self.error

    async def given_up(self, delivery, error):
        self.told.append(error)


async def test_chat_writes_each_piece_and_returns_the_end():
    bus = RecordingBus(inference.ChatDelta(text="a"), inference.ChatDelta(text="b"), DONE)
    written: list[str] = []

    async def write(text: str) -> None:
        written.append(text)

    done = await ModelClient(bus, "small").chat(REQUEST, write, MANDATE)

    assert (written, done) == (["a", "b"], DONE)
    assert bus.calls[0][2] == {
        "deadline": MANDATE.deadline,
        "principal": "signed",
        "target": "small",
    }


async def test_chat_that_cannot_be_written_leaves_the_stream_at_once():
    bus = RecordingBus(inference.ChatDelta(text="a"), DONE)

    async def write(text: str) -> None:
        raise Unavailable(f"cannot write {text!r}")

    with pytest.raises(Unavailable):
        await ModelClient(bus, "small").chat(REQUEST, write, MANDATE)

    assert bus.has_left


async def test_chat_without_an_end_is_unavailable():
    async def write(text: str) -> None: ...

    with pytest.raises(Unavailable):
        await ModelClient(RecordingBus(), "small").chat(REQUEST, write, MANDATE)


async def test_all_prompts_are_counted_in_one_request():
    reply = inference.CountReply(tokens=(1, 2), context_length=9)
    bus = RecordingBus(reply)

    counted = await ModelClient(bus, "small").count([REQUEST.messages] * 2, MANDATE)

    assert counted == reply
    assert len(bus.calls[0][1].prompts) == 2


async def test_memory_calls_carry_the_mandate():
    bus = RecordingBus(
        memory.RecallReply(),
        memory.HistoryReply(lines=()),
        memory.AppendReply(length=1),
        memory.RememberReply(stored=1, known=0, revision="r"),
    )
    client = MemoryClient(bus)
    line = memory.ConversationLine(id="l", speaker="user", content="hi", said_at_ms=0)

    await client.recall("tea", 3, MANDATE)
    await client.history(5, MANDATE)
    await client.append([line], MANDATE)
    await client.remember(memory.Memory(id="x", content="tea", created_at_ms=0), MANDATE)

    assert [call[0] for call in bus.calls] == [
        memory.RECALL,
        memory.HISTORY,
        memory.APPEND,
        memory.REMEMBER,
    ]
    assert {call[2]["principal"] for call in bus.calls} == {"signed"}
    assert {call[2]["deadline"] for call in bus.calls} == {MANDATE.deadline}


async def test_plan_goes_to_the_executor_with_the_mandate():
    plan = PlanReply(
        operation_id="o", plan_hash="0" * 64, risk=Risk(0), needs_approval=False, rendered=""
    )
    bus = RecordingBus(plan)
    request = PlanRequest(operation_id="o", instruction="system.info")

    assert await ExecutorClient(bus).plan(request, MANDATE) == plan
    assert bus.calls[0][2]["principal"] == "signed"


@pytest.mark.parametrize("known", [(), ("known",)])
async def test_reply_is_stored_where_its_part_belongs(known):
    bus = RecordingBus(*known)
    message = OutboundMessage(
        channel="webhook",
        tenant="default",
        conversation_id="c1",
        message_id="m1",
        content="hi",
        created_at_ms=0,
    )

    await BusOutbox(bus).reply(message, MANDATE)

    assert bus.calls[0][0] == subjects.outbound("webhook", "default", "c1", "m1", 0)


async def test_pieces_are_broadcast_to_their_conversation():
    bus = RecordingBus()
    end = DeltaEnd(message_id="m1", count=0)

    await BusDeltas(bus).send("c1", end)

    assert bus.calls == [(subjects.deltas("c1"), end, {})]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "answered"),
        (NotFound("no model"), "not_found"),
        (ValueError("a bug"), "internal"),
    ],
)
async def test_attempts_are_counted_by_outcome(delivery, error, outcome):
    counter = turns_total.labels(outcome)
    before = counter._value.get()

    with suppress(NotFound, ValueError):
        await MeasuredTurns(ScriptedTurns(error)).handle(delivery("hi"))

    assert counter._value.get() == before + 1


async def test_turn_given_up_is_counted_and_passed_on(delivery):
    inner = ScriptedTurns()
    error = ErrorReply(code="unavailable", message="away")
    before = turns_total.labels("given_up")._value.get()

    await MeasuredTurns(inner).given_up(delivery("hi"), error)

    assert inner.told == [error]
    assert turns_total.labels("given_up")._value.get() == before + 1
