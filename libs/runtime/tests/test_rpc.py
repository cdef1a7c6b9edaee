"""Calls between services on a real broker, and the traps of nats-py that they step around."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest

from clawdbot.runtime.bus import Bus
from clawdbot.runtime.rpc_server import RPCServer
from clawdbot.runtime.testing import LocalBus
from clawdbot.schema import subjects
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import (
    DeadlineExceeded,
    Internal,
    InvalidMessage,
    NotFound,
    Overloaded,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from clawdbot.schema.executor import DECIDE, DecideReply, DecideRequest, Decision
from clawdbot.schema.ids import Channel, ConversationId, MessageId, Tenant
from clawdbot.schema.inference import (
    CHAT,
    EMBED,
    MODELS,
    ChatDelta,
    ChatDone,
    ChatRequest,
    ChatTurn,
    EmbedRequest,
    FinishReason,
    ModelsReply,
    ModelsRequest,
    ModelState,
    ModelStatus,
    Role,
)
from clawdbot.schema.memory import RECALL, RecallReply, RecallRequest
from clawdbot.schema.messages import Usage
from clawdbot.schema.principal import Principal, PrincipalVerifier, Scope
from clawdbot.schema.rpc import Call

ALICE = Principal(
    tenant=Tenant("acme"),
    user="alice",
    scopes=frozenset({Scope.MEMORY_READ}),
    conversation_id=ConversationId("c"),
    channel=Channel("webhook"),
)
HELLO = ChatRequest(messages=(ChatTurn(role="user", content="hello"),))
DONE = ChatDone(
    text="hello",
    model="m/1",
    finish_reason=FinishReason.STOP,
    usage=Usage(prompt_tokens=1, completion_tokens=1),
)


@asynccontextmanager
async def serving(stack: LocalBus, service: str) -> AsyncIterator[tuple[Bus, RPCServer]]:
    verifier = PrincipalVerifier(stack.secrets.read("principal_public_key"))
    async with stack.bus(service) as bus:
        server = RPCServer(bus, "0.1.0", verifier)
        await server.start()
        try:
            yield bus, server
        finally:
            await server.stop(Deadline.after(1))


async def no_models(_: ModelsRequest, __: Call) -> ModelsReply:
    return ModelsReply(models=())


async def test_a_call_is_answered_by_one_replica(stack: LocalBus) -> None:
    answered: list[int] = []

    def replica(number: int):
        async def models(_: ModelsRequest, __: Call) -> ModelsReply:
            answered.append(number)
            return ModelsReply(models=())

        return models

    async with serving(stack, "inference") as (_, one), serving(stack, "inference") as (_, two):
        await one.respond(MODELS, replica(1), None, 8)
        await two.respond(MODELS, replica(2), None, 8)
        async with stack.bus("gateway") as caller:
            for _ in range(40):
                await caller.call(MODELS, ModelsRequest(), deadline=Deadline.after(5))

    assert len(answered) == 40
    assert set(answered) == {1, 2}


async def test_nobody_there_is_known_at_once(stack: LocalBus) -> None:
    async with stack.bus("gateway") as caller:
        with pytest.raises(Unavailable, match="nobody answers"):
            async with asyncio.timeout(2):
                await caller.call(MODELS, ModelsRequest(), deadline=Deadline.after(30))


async def test_the_error_of_the_other_side_arrives_as_it_was(stack: LocalBus) -> None:
    async def missing(_: ModelsRequest, __: Call) -> ModelsReply:
        raise NotFound("no such model", field="model", fix="run make models")

    async with serving(stack, "inference") as (_, server), stack.bus("gateway") as caller:
        await server.respond(MODELS, missing, None, 8)

        with pytest.raises(NotFound) as caught:
            await caller.call(MODELS, ModelsRequest(), deadline=Deadline.after(5))

    assert caught.value.fix == "run make models"


async def test_a_bug_of_the_other_side_tells_nothing(stack: LocalBus) -> None:
    async def broken(_: ModelsRequest, __: Call) -> ModelsReply:
        raise KeyError("a secret")

    async with serving(stack, "inference") as (_, server), stack.bus("gateway") as caller:
        await server.respond(MODELS, broken, None, 8)

        with pytest.raises(Internal) as caught:
            await caller.call(MODELS, ModelsRequest(), deadline=Deadline.after(5))

    assert "secret" not in caught.value.message


async def test_a_passed_deadline_is_refused_before_it_is_sent(stack: LocalBus) -> None:
    async with serving(stack, "inference") as (_, server), stack.bus("gateway") as caller:
        await server.respond(MODELS, no_models, None, 8)

        with pytest.raises(DeadlineExceeded):
            await caller.call(MODELS, ModelsRequest(), deadline=Deadline.after(-1))


async def test_work_beyond_the_deadline_is_cancelled_and_said(stack: LocalBus) -> None:
    cancelled = asyncio.Event()

    async def endless(_: ModelsRequest, __: Call) -> ModelsReply:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        raise AssertionError

    async with serving(stack, "inference") as (_, server), stack.bus("gateway") as caller:
        await server.respond(MODELS, endless, None, 8)

        with pytest.raises(DeadlineExceeded):
            await caller.call(MODELS, ModelsRequest(), deadline=Deadline.after(0.3))
        async with asyncio.timeout(5):
            await cancelled.wait()


async def test_handlers_run_side_by_side_up_to_the_bound_then_overloaded(stack: LocalBus) -> None:
    gate, running = asyncio.Event(), asyncio.Semaphore(0)

    async def slow(_: ModelsRequest, __: Call) -> ModelsReply:
        running.release()
        await gate.wait()
        return ModelsReply(models=())

    async with serving(stack, "inference") as (_, server), stack.bus("gateway") as caller:
        await server.respond(MODELS, slow, None, 3)
        calls = [
            asyncio.create_task(caller.call(MODELS, ModelsRequest(), deadline=Deadline.after(10)))
            for _ in range(3)
        ]
        for _ in calls:
            await running.acquire()

        with pytest.raises(Overloaded):
            await caller.call(MODELS, ModelsRequest(), deadline=Deadline.after(5))

        gate.set()
        assert len(await asyncio.gather(*calls)) == 3


async def test_a_signed_principal_reaches_the_handler_verified(stack: LocalBus) -> None:
    seen: list[Principal] = []

    async def recall(_: RecallRequest, call: Call) -> RecallReply:
        seen.append(call.principal)
        return RecallReply()

    async with serving(stack, "memory") as (_, server), stack.bus("assistant") as caller:
        await server.respond(RECALL, recall, None, 8)
        token = stack.signer.sign(ALICE)
        request, deadline = RecallRequest(query="?"), Deadline.after(5)

        await caller.call(RECALL, request, deadline=deadline, principal=token)
        with pytest.raises(Unauthenticated):
            await caller.call(RECALL, request, deadline=deadline, principal=token[:-4] + "AAAA")
        with pytest.raises(Unauthenticated):
            await caller.call(RECALL, request, deadline=deadline)

    assert seen == [ALICE]


async def test_a_request_of_another_type_is_refused(stack: LocalBus) -> None:
    async with serving(stack, "inference") as (_, server), stack.bus("gateway") as caller:
        await server.respond(MODELS, no_models, None, 8)

        reply = await caller.client.request(
            MODELS.subject(), b"\xc1", headers={"Claw-Schema": "models_request/1"}
        )

    assert reply.headers is not None
    assert reply.headers["Nats-Service-Error"] == InvalidMessage.code
    assert reply.headers["Nats-Service-Error-Code"] == "422"


async def test_a_streamed_answer_arrives_in_order_with_its_end(stack: LocalBus) -> None:
    async def chat(_: ChatRequest, __: Call) -> AsyncIterator[ChatDelta | ChatDone]:
        for number in range(50):
            yield ChatDelta(text=str(number))
        yield DONE

    async with serving(stack, "inference") as (_, server), stack.bus("assistant") as caller:
        await server.respond_stream(CHAT, chat, "m", 4)

        answer = [
            part
            async for part in caller.stream(CHAT, HELLO, deadline=Deadline.after(5), target="m")
        ]

    assert [part.text for part in answer[:-1]] == [str(n) for n in range(50)]
    assert answer[-1] == DONE


async def test_an_error_within_a_stream_arrives_typed(stack: LocalBus) -> None:
    async def chat(_: ChatRequest, __: Call) -> AsyncIterator[ChatDelta | ChatDone]:
        yield ChatDelta(text="a")
        raise NotFound("gone")

    async with serving(stack, "inference") as (_, server), stack.bus("assistant") as caller:
        await server.respond_stream(CHAT, chat, "m", 4)

        with pytest.raises(NotFound, match="gone"):
            async for _part in caller.stream(CHAT, HELLO, deadline=Deadline.after(5), target="m"):
                pass


async def test_leaving_a_stream_cancels_the_work(stack: LocalBus) -> None:
    cancelled = asyncio.Event()

    async def chat(_: ChatRequest, __: Call) -> AsyncIterator[ChatDelta | ChatDone]:
        try:
            yield ChatDelta(text="a")
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with serving(stack, "inference") as (_, server), stack.bus("assistant") as caller:
        await server.respond_stream(CHAT, chat, "m", 4)
        async with aclosing(
            caller.stream(CHAT, HELLO, deadline=Deadline.after(30), target="m")
        ) as answer:
            await anext(answer)

        async with asyncio.timeout(5):
            await cancelled.wait()


async def test_a_stream_that_nobody_serves_is_known_at_once(stack: LocalBus) -> None:
    async with stack.bus("assistant") as caller:
        with pytest.raises(Unavailable):
            async with asyncio.timeout(2):
                async for _part in caller.stream(
                    CHAT, HELLO, deadline=Deadline.after(30), target="m"
                ):
                    pass


async def test_services_are_found_through_the_micro_protocol(stack: LocalBus) -> None:
    async with serving(stack, "inference") as (_, server), stack.bus("operator") as operator:
        await server.respond(MODELS, no_models, None, 8)

        reply = await operator.client.request("$SRV.INFO.inference", b"", timeout=2)

    info = json.loads(reply.data)
    assert info["name"] == "inference"
    assert [endpoint["subject"] for endpoint in info["endpoints"]] == [MODELS.subject()]


async def test_stopping_finishes_what_was_asked(stack: LocalBus) -> None:
    started = asyncio.Event()

    async def slow(_: ModelsRequest, __: Call) -> ModelsReply:
        started.set()
        await asyncio.sleep(0.2)
        return ModelsReply(models=())

    async with stack.bus("gateway") as caller:
        async with serving(stack, "inference") as (_, server):
            await server.respond(MODELS, slow, None, 8)
            asked = asyncio.create_task(
                caller.call(MODELS, ModelsRequest(), deadline=Deadline.after(5))
            )
            await started.wait()

        assert await asked == ModelsReply(models=())


async def test_a_target_is_no_way_to_add_levels_to_an_address(stack: LocalBus) -> None:
    async with stack.bus("gateway") as caller:
        with pytest.raises(InvalidMessage):
            await caller.call(
                EMBED,
                EmbedRequest(texts=("x",), role=Role.QUERY),
                deadline=Deadline.after(1),
                target="a.>",
            )


async def test_a_stored_message_that_the_broker_relays_is_no_request(stack: LocalBus) -> None:
    """Whoever may read a stream can have the broker send it to any subject."""
    asked: list[DecideRequest] = []

    async def decide(request: DecideRequest, _: Call) -> DecideReply:
        asked.append(request)
        raise NotFound("nothing is pending")

    forged = DecideRequest(code="1234", decision=Decision.APPROVE)
    subject = subjects.turn(Tenant("t"), ConversationId("c"), MessageId("m"), 0)
    token = stack.signer.sign(ALICE)
    async with serving(stack, "executor") as (_, server), stack.bus("assistant") as mallory:
        await server.respond(DECIDE, decide, None, 8)
        await mallory.store_once(subject, forged, deadline=Deadline.after(5), principal=token)

        await mallory.client.publish(f"$JS.API.DIRECT.GET.TURNS.{subject}", reply=DECIDE.subject())
        await mallory.client.flush()
        async with stack.bus("gateway") as caller:
            with pytest.raises(NotFound):
                await caller.call(DECIDE, forged, deadline=Deadline.after(5), principal=token)

    assert len(asked) == 1


async def test_an_answer_that_is_too_large_is_said(stack: LocalBus) -> None:
    async def enormous(_: ModelsRequest, __: Call) -> ModelsReply:
        status = ModelStatus(name="m", state=ModelState.READY, detail="x" * 9_000_000)
        return ModelsReply(models=(status,))

    async with serving(stack, "inference") as (_, server), stack.bus("gateway") as caller:
        await server.respond(MODELS, enormous, None, 8)

        with pytest.raises(TooLarge):
            await caller.call(MODELS, ModelsRequest(), deadline=Deadline.after(5))


async def test_callers_of_a_stopping_service_are_told(stack: LocalBus) -> None:
    async def endless(_: ChatRequest, __: Call) -> AsyncIterator[ChatDelta | ChatDone]:
        yield ChatDelta(text="a")
        await asyncio.Event().wait()

    async with stack.bus("assistant") as caller, stack.bus("inference") as bus:
        server = RPCServer(bus, "0.1.0", None)
        await server.start()
        await server.respond_stream(CHAT, endless, "m", 4)
        answer = caller.stream(CHAT, HELLO, deadline=Deadline.after(30), target="m")
        await anext(answer)

        await server.stop(Deadline.after(0.1))

        with pytest.raises(Unavailable, match="stopping"):
            await anext(answer)


async def test_a_dead_replica_is_noticed_long_before_the_deadline(
    stack: LocalBus,
) -> None:

    async def dies(_: ChatRequest, __: Call) -> AsyncIterator[ChatDelta | ChatDone]:
        yield ChatDelta(text="a")
        await asyncio.Event().wait()

    async with serving(stack, "inference") as (_, server), stack.bus("assistant") as bus:
        caller = Bus(bus.client, "assistant", silence_s=0.3)
        await server.respond_stream(CHAT, dies, "m", 4)
        async with asyncio.timeout(5):
            with pytest.raises(Unavailable, match="silent"):
                async for _part in caller.stream(
                    CHAT, HELLO, deadline=Deadline.after(60), target="m"
                ):
                    pass


async def test_a_slow_answer_is_kept_alive_by_both_sides(
    stack: LocalBus,
) -> None:
    gate = asyncio.Event()

    async def slow(_: ChatRequest, __: Call) -> AsyncIterator[ChatDelta | ChatDone]:
        await gate.wait()
        yield DONE

    async with serving(stack, "inference") as (_, server), stack.bus("assistant") as bus:
        caller = Bus(bus.client, "assistant", silence_s=0.4)
        await server.respond_stream(CHAT, slow, "m", 4)
        answer = asyncio.create_task(
            anext(caller.stream(CHAT, HELLO, deadline=Deadline.after(60), target="m"))
        )
        for _ in range(8):
            await asyncio.sleep(0.1)
            await server.tend_streams()
        gate.set()

        assert await answer == DONE
