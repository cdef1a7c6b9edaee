"""The story of a turn, and what is left of it when it is killed anywhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clawdbot.assistant.adapters.recording import World
from clawdbot.assistant.handlers.stopping import Stops
from clawdbot.assistant.handlers.turns import Turns
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import (
    DeadlineExceeded,
    ErrorReply,
    NotFound,
    Unavailable,
    to_wire,
)
from clawdbot.schema.ids import derived
from clawdbot.schema.memory import Memory, MemorySource, Speaker
from clawdbot.schema.messages import Delta, DeltaEnd, ReplyKind

STORY = [
    "recall",
    "journal recall",
    "history",
    "count",
    "chat",
    "delta 0",
    "delta 1",
    "delta 2",
    "journal answer",
    "append",
    "remember",
    "reply",
    "end",
]
RUN_STORY = ["recall", "journal recall", "plan", "run", "journal run", "append", "reply", "end"]


async def test_turn_records_each_decision_before_its_effect(world, turns, delivery):
    await turns.handle(delivery("My cat is called Mimi."))

    assert world.recorder.events == STORY


async def test_reply_goes_back_the_way_its_question_came(world, turns, delivery):
    await turns.handle(delivery("My cat is called Mimi."))

    reply = world.outbox.replies["m1", 0]
    assert (reply.content, reply.kind, reply.is_final) == ("Hello there.", ReplyKind.REPLY, True)
    assert (reply.channel, reply.thread_id, reply.reply_to) == ("webhook", "t1", b"opaque")
    assert reply.metadata.model == "scripted/1"
    assert reply.metadata.finish_reason == "stop"
    assert reply.metadata.usage is not None
    assert reply.metadata.trace_id == "trace-1"


async def test_what_was_stated_and_both_lines_are_kept_under_derived_ids(world, turns, delivery):
    await turns.handle(delivery("  My cat is called Mimi. "))

    memory = world.memory.memories[derived("m1", "memory")]
    assert (memory.content, memory.source) == ("My cat is called Mimi.", MemorySource.USER)
    lines = world.memory.lines
    assert lines[derived("m1", "user")].content == "My cat is called Mimi."
    assert lines[derived("m1", "assistant")].content == "Hello there."
    assert [line.speaker for line in lines.values()] == [Speaker.USER, Speaker.ASSISTANT]


async def test_recalled_memory_stands_in_the_prompt_and_is_cited(world, turns, delivery):
    world.memory.memories["a"] = Memory(id="a", content="I live in\nBerlin.", created_at_ms=1)

    await turns.handle(delivery("Where do I live?"))

    system, newest = world.model.requests[0].messages
    assert "\n- I live in Berlin." in system.content
    assert (newest.role, newest.content) == ("user", "Where do I live?")
    recalled = world.outbox.replies["m1", 0].metadata.recalled
    assert [citation.memory_id for citation in recalled] == ["a"]


async def test_persona_speaks_the_language_of_the_user(world, turns, delivery):
    await turns.handle(delivery("Where do I live?"))
    await turns.handle(delivery("我住在哪里？", message_id="m2"))

    english, chinese = (request.messages[0].content for request in world.model.requests)
    assert english.startswith("You are Clawdbot.")
    assert chinese.startswith("你是 Clawdbot。")


async def test_nothing_recalled_or_answered_is_stored_as_a_memory(world, turns, delivery):
    world.memory.memories["a"] = Memory(id="a", content="SECRET-FACT", created_at_ms=1)
    world.model.pieces = ("You said SECRET-FACT.",)

    await turns.handle(delivery("I like tea."))

    new = [memory for memory in world.memory.memories.values() if memory.id != "a"]
    assert [memory.content for memory in new] == ["I like tea."]


async def test_question_is_answered_but_not_remembered(world, turns, delivery):
    await turns.handle(delivery("Where do I live?"))

    assert world.memory.memories == {}
    assert len(world.memory.lines) == 2


async def test_model_is_asked_greedily_with_the_history_before_the_question(world, turns, delivery):
    await turns.handle(delivery("I like tea.", message_id="m0"))

    await turns.handle(delivery("What do I like?"))

    request = world.model.requests[1]
    said = [(turn.role, turn.content) for turn in request.messages[1:]]
    assert said == [
        ("user", "I like tea."),
        ("assistant", "Hello there."),
        ("user", "What do I like?"),
    ]
    assert (request.temperature, request.repetition_penalty) == (0.0, 1.1)
    assert request.max_tokens == 200


async def test_deltas_are_numbered_and_closed_after_the_reply_is_stored(world, turns, delivery):
    await turns.handle(delivery("I like tea."))

    pieces = world.deltas.pieces
    assert [p.index for p in pieces if isinstance(p, Delta)] == [0, 1, 2]
    assert isinstance(pieces[-1], DeltaEnd)
    assert pieces[-1].count == 3
    assert world.recorder.events.index("reply") < world.recorder.events.index("end")


async def test_every_call_carries_the_principal_and_ends_with_the_turn(world, turns, delivery):
    arrived = delivery("I like tea.")

    await turns.handle(arrived)

    assert {mandate.principal for mandate in world.recorder.mandates} == {"signed"}
    assert all(mandate.deadline.at < arrived.deadline.at for mandate in world.recorder.mandates)


@pytest.mark.parametrize("killed_at", STORY)
async def test_turn_killed_anywhere_ends_the_same_when_delivered_again(
    world, turns, personas, limits, delivery, killed_at
):
    undisturbed = World()
    await Turns(undisturbed.ports, personas, limits, Stops()).handle(delivery("I like tea."))
    world.recorder.failures[killed_at] = Unavailable("killed")

    with pytest.raises(Unavailable):
        await turns.handle(delivery("I like tea."))
    await turns.handle(delivery("I like tea.", attempt=2))

    assert world.outbox.replies == undisturbed.outbox.replies
    assert world.memory.lines == undisturbed.memory.lines
    assert world.memory.memories == undisturbed.memory.memories


@pytest.mark.parametrize("killed_at", ["append", "remember", "reply", "end"])
async def test_journalled_answer_is_not_asked_for_again(world, turns, delivery, killed_at):
    world.recorder.failures[killed_at] = Unavailable("killed")

    with pytest.raises(Unavailable):
        await turns.handle(delivery("I like tea."))
    world.model.pieces = ("Something else.",)
    await turns.handle(delivery("I like tea.", attempt=2))

    assert len(world.model.requests) == 1
    assert world.recorder.events.count("recall") == 1
    assert world.outbox.replies["m1", 0].content == "Hello there."
    assert world.deltas.pieces[-1] == DeltaEnd(
        message_id="m1", count=0, usage=world.outbox.replies["m1", 0].metadata.usage
    )


async def test_answer_that_broke_off_is_broadcast_anew_from_index_0(world, turns, delivery):
    world.recorder.failures["delta 2"] = Unavailable("killed")

    with pytest.raises(Unavailable):
        await turns.handle(delivery("I like tea."))
    await turns.handle(delivery("I like tea.", attempt=2))

    indexes = [piece.index for piece in world.deltas.pieces if isinstance(piece, Delta)]
    assert indexes == [0, 1, 0, 1, 2]


async def test_message_handled_twice_is_answered_once(world, turns, delivery):
    await turns.handle(delivery("I like tea."))
    first = dict(world.outbox.replies)

    await turns.handle(delivery("I like tea.", attempt=2))

    assert world.outbox.replies == first
    assert len(world.memory.lines) == 2
    assert len(world.memory.memories) == 1


async def test_instruction_is_planned_run_and_reported_without_a_model(world, turns, delivery):
    await turns.handle(delivery("/sysinfo"))

    assert world.recorder.events == RUN_STORY
    assert world.executor.runs[0].operation_id == derived("m1", "run")
    reply = world.outbox.replies["m1", 0]
    assert reply.content == "System information\n```\nkernel: Linux\n```"
    assert reply.metadata.instruction == "system.info"


async def test_instruction_asked_for_in_chinese_is_reported_in_chinese(world, turns, delivery):
    await turns.handle(delivery("请告诉我系统信息"))

    assert world.outbox.replies["m1", 0].content.startswith("系统信息\n```")


@pytest.mark.parametrize("killed_at", RUN_STORY)
async def test_instruction_killed_anywhere_is_run_under_one_operation(
    world, turns, delivery, killed_at
):
    world.recorder.failures[killed_at] = Unavailable("killed")

    with pytest.raises(Unavailable):
        await turns.handle(delivery("/sysinfo"))
    await turns.handle(delivery("/sysinfo", attempt=2))

    assert {run.operation_id for run in world.executor.runs} == {derived("m1", "run")}
    assert len(world.executor.runs) == (2 if killed_at == "journal run" else 1)
    assert list(world.outbox.replies) == [("m1", 0)]


async def test_message_of_files_alone_is_answered_without_asking_anyone(world, turns, delivery):
    picture = {"type": "image", "url": "https://example.org/cat.png"}

    await turns.handle(delivery("  ", attachments=(picture,)))

    assert world.recorder.events == ["reply", "end"]
    assert "only read text" in world.outbox.replies["m1", 0].content


async def test_answer_to_text_with_a_file_admits_that_the_file_was_not_read(world, turns, delivery):
    picture = {"type": "image", "url": "https://example.org/cat.png"}

    await turns.handle(delivery("What is this?", attachments=(picture,)))

    assert "did not look at what was attached" in world.outbox.replies["m1", 0].content


async def test_model_that_says_nothing_is_covered_by_a_sentence_of_ours(world, turns, delivery):
    world.model.pieces = ("  ",)

    await turns.handle(delivery("你好吗？"))

    assert world.outbox.replies["m1", 0].content == "我没有想出答案，请换个说法试试。"


async def test_unreachable_memory_is_left_to_the_retries(world, turns, delivery):
    world.recorder.failures["recall"] = DeadlineExceeded("no answer in time")

    with pytest.raises(DeadlineExceeded):
        await turns.handle(delivery("Where do I live?"))

    assert world.outbox.replies == {}


async def test_limits_of_zero_ask_memory_for_nothing(world, personas, limits, delivery):
    none = replace(limits, recall_limit=0, history_lines=0)
    without = Turns(world.ports, personas, none, Stops())

    await without.handle(delivery("Where do I live?"))

    assert {"recall", "history"}.isdisjoint(world.recorder.events)


async def test_missing_model_is_told_to_the_user_with_its_fix(world, turns, delivery):
    missing = NotFound("model 'x' is not at models/x", fix="run `clawdbot models build`")
    world.recorder.failures["count"] = missing

    with pytest.raises(NotFound) as caught:
        await turns.handle(delivery("Where do I live?"))
    await turns.given_up(delivery("Where do I live?"), to_wire(caught.value, "trace-7"))

    reply = world.outbox.replies["m1", 0]
    assert reply.kind is ReplyKind.ERROR
    assert "models/x" in reply.content
    assert "clawdbot models build" in reply.content
    assert "trace-7" in reply.content
    assert reply.metadata.error == to_wire(missing, "trace-7")
    assert isinstance(world.deltas.pieces[-1], DeltaEnd)


async def test_news_of_a_turn_whose_time_ran_out_gets_fresh_time(world, turns, delivery):
    late = replace(delivery("I like tea."), deadline=Deadline.after(-1))

    await turns.given_up(late, ErrorReply(code="deadline_exceeded", message="too late"))

    assert world.recorder.mandates[-1].deadline.remaining_s() > 0
    assert world.outbox.replies["m1", 0].kind is ReplyKind.ERROR


async def test_reply_that_was_stored_is_not_followed_by_an_apology(world, turns, delivery):
    world.recorder.failures["end"] = Unavailable("broker away")

    with pytest.raises(Unavailable):
        await turns.handle(delivery("I like tea."))
    await turns.given_up(delivery("I like tea."), ErrorReply(code="unavailable", message="away"))

    assert world.outbox.replies["m1", 0].kind is ReplyKind.REPLY
