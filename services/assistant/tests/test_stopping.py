"""A stop ends what it is about, at once and for good, with one reply for each message."""

from __future__ import annotations

import asyncio

import pytest

from clawdbot.assistant.adapters.recording import World
from clawdbot.assistant.handlers.stopping import REMEMBERED, Stopped, Stops
from clawdbot.assistant.handlers.turns import Turns
from clawdbot.schema.controls import Control, ControlKind
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.executor import Approval, ApprovalState
from clawdbot.schema.ids import ConversationId, derived

ASKED_MS = 1_699_999_999_000
LATER_MS = ASKED_MS + 5
C1 = ConversationId("c1")


async def begun(world: World, turns: Turns, message) -> asyncio.Task[None]:
    """Begin a turn whose model does not come to an end."""
    world.model.gate = asyncio.Event()
    turn = asyncio.create_task(turns.handle(message))
    await asyncio.wait_for(world.model.has_begun.wait(), 5)
    return turn


async def test_a_running_answer_ends_with_what_was_written(world, turns, stops, delivery):
    turn = await begun(world, turns, delivery("Tell me a long story"))

    stops.hear(C1, LATER_MS)
    await asyncio.wait_for(turn, 5)

    reply = world.outbox.replies["m1", 0]
    assert reply.content == "Hello\n\n(Stopped.)"
    assert reply.metadata.finish_reason == "cancelled"
    assert list(world.outbox.replies) == [("m1", 0)]


async def test_a_stopped_turn_delivered_again_does_not_begin_again(
    world, turns, stops, delivery, personas, limits
):
    turn = await begun(world, turns, delivery("Tell me a long story"))
    world.recorder.failures["reply"] = Unavailable("killed")
    stops.hear(C1, LATER_MS)
    with pytest.raises(Unavailable):
        await asyncio.wait_for(turn, 5)

    # Another process, which heard of no stop.
    elsewhere = Turns(world.ports, personas, limits, Stops())
    await elsewhere.handle(delivery("Tell me a long story", attempt=2))

    assert world.recorder.events.count("chat") == 1
    assert world.outbox.replies["m1", 0].content == "Hello\n\n(Stopped.)"


async def test_a_question_that_waits_behind_the_stopped_one_is_not_begun(
    world, turns, stops, delivery
):
    stops.hear(C1, LATER_MS)

    await turns.handle(delivery("给我讲个很长的故事"))

    assert "chat" not in world.recorder.events
    assert world.outbox.replies["m1", 0].content == "已停止。"
    assert world.memory.lines == {}


async def test_a_question_asked_after_the_stop_is_answered(world, turns, stops, delivery):
    stops.hear(C1, LATER_MS)

    await turns.handle(delivery("Hello?", accepted_at_ms=LATER_MS + 1))

    assert world.outbox.replies["m1", 0].content == "Hello there."


async def test_another_conversation_goes_on(world, turns, stops, delivery):
    turn = await begun(world, turns, delivery("Tell me a long story"))

    stops.hear(ConversationId("c2"), LATER_MS)
    world.model.gate.set()
    await asyncio.wait_for(turn, 5)

    assert world.outbox.replies["m1", 0].content == "Hello there."


async def test_a_stop_that_comes_after_the_answer_was_recorded_changes_nothing(
    world, turns, stops, delivery
):
    world.recorder.failures["append"] = Unavailable("killed")
    with pytest.raises(Unavailable):
        await turns.handle(delivery("Hello?"))

    stops.hear(C1, LATER_MS)
    await turns.handle(delivery("Hello?", attempt=2))

    assert world.outbox.replies["m1", 0].content == "Hello there."


async def test_a_running_operation_is_cancelled(world, turns, stops, delivery):
    world.executor.gate = asyncio.Event()
    turn = asyncio.create_task(turns.handle(delivery("/sysinfo")))
    while not world.executor.runs:
        await asyncio.sleep(0)

    stops.hear(C1, LATER_MS)
    await asyncio.wait_for(turn, 5)

    assert world.executor.cancelled == [derived("m1", "run")]
    assert world.outbox.replies["m1", 0].content == "Stopped."


async def test_an_operation_is_stopped_even_when_the_executor_cannot_be_told(
    world, turns, stops, delivery
):
    world.recorder.failures["cancel"] = Unavailable("away")
    stops.hear(C1, LATER_MS)

    await turns.handle(delivery("/sysinfo"))

    assert world.outbox.replies["m1", 0].content == "Stopped."
    assert world.executor.runs == []


async def test_an_approved_operation_is_stopped_under_its_own_id(world, turns, stops, delivery):
    approval = Approval(
        code="K7Q2M9XW4T",
        plan_hash="1" * 64,
        rendered="",
        state=ApprovalState.APPROVED,
        expires_at_ms=LATER_MS,
        operation_id="op-9",
        instruction="python.snippet",
    )
    control = Control(kind=ControlKind.APPROVE, code=approval.code, approval=approval)
    stops.hear(C1, LATER_MS)

    await turns.handle(delivery("/approve K7Q2M9XW4T", control=control))

    assert world.executor.cancelled == ["op-9"]
    assert world.outbox.replies["m1", 0].content == "Stopped."


async def test_the_stop_itself_is_answered_by_what_it_did(world, turns, stops, delivery):
    stop = Control(kind=ControlKind.STOP)
    turn = await begun(world, turns, delivery("Tell me a long story"))
    stops.hear(C1, LATER_MS)
    await turn
    first = delivery("/stop", message_id="m2", accepted_at_ms=LATER_MS, control=stop)
    stops.hear(C1, LATER_MS + 1)
    second = delivery("/停止", message_id="m3", accepted_at_ms=LATER_MS + 1, control=stop)
    lost = delivery("/stop", message_id="m4", accepted_at_ms=LATER_MS + 2, control=stop)

    for message in (second, lost):
        await turns.handle(message)
    stops.hear(C1, LATER_MS)
    await turns.handle(first)

    contents = {name: reply.content for (name, _), reply in world.outbox.replies.items()}
    assert contents["m2"] == "Stopped."
    assert contents["m3"] == "当前没有正在进行的任务。"
    assert contents["m4"] == "Stopped."


async def test_time_that_runs_out_within_is_no_stop(stops, delivery):
    with pytest.raises(TimeoutError):
        async with stops.watch(delivery("x").message):
            raise TimeoutError


async def test_two_stops_at_once_end_a_turn_once(stops, delivery):
    with pytest.raises(Stopped):
        async with stops.watch(delivery("x").message):
            stops.hear(C1, LATER_MS)
            stops.hear(C1, LATER_MS + 1)
            await asyncio.sleep(60)


async def test_stops_are_remembered_within_bounds(stops, delivery):
    stops.hear(C1, LATER_MS)
    for number in range(REMEMBERED):
        stops.hear(ConversationId(f"other-{number}"), LATER_MS)

    async with stops.watch(delivery("x").message):
        pass
