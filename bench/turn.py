"""A whole turn with a model that costs nothing, against the sum of its bare parts.

Ours: INBOUND stored, ordered consumer in another process, journal step around one rpc, OUTBOUND
stored, heard here. Bare: a publish, a request and a publish with nats-py, one after the other.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count

from bench.echo import RAW_SUBJECT, TEXT, Echo
from bench.measure import Comparison, Effort, interleaved, percentile
from bench.processes import Durability, Stack, stack
from clawdbot.runtime.bus import Bus
from clawdbot.runtime.listener import Listener
from clawdbot.schema import subjects
from clawdbot.schema.codec import encode
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.ids import Channel, ConversationId, MessageId, Tenant
from clawdbot.schema.messages import InboundMessage, OutboundMessage

CHANNEL, TENANT = Channel("webhook"), Tenant("default")
COUNTS: dict[Durability, int] = {"relaxed": 200, "strict": 100}
_number = count()


async def run(effort: Effort) -> list[Comparison]:
    """Compare medians and 99th percentiles under both durabilities."""
    found: list[Comparison] = []
    for durability in COUNTS:
        async with stack(durability) as local:
            found += await _compare(local, durability, effort)
    return found


async def _compare(local: Stack, durability: Durability, effort: Effort) -> list[Comparison]:
    turns = effort.count(COUNTS[durability])
    async with (
        local.process("bench.responder"),
        local.process("bench.worker"),
        local.bus("gateway") as gateway,
        local.bus("assistant") as assistant,
        gateway.listen(subjects.outbound_of_channel(CHANNEL), kinds=(OutboundMessage,)) as listener,
    ):
        ours, bare = await interleaved(
            effort.rounds,
            partial(_times_ms, partial(_turn, gateway, listener), turns),
            partial(_times_ms, partial(_parts, assistant), turns),
        )
    return [
        Comparison(
            f"turn {label}, {durability}",
            "ms",
            [percentile(times, share) for times in ours],
            [percentile(times, share) for times in bare],
        )
        for label, share in (("p50", 0.5), ("p99", 0.99))
    ]


async def _times_ms(once: Callable[[], Awaitable[None]], times: int) -> list[float]:
    took: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        await once()
        took.append(1000 * (time.perf_counter() - began))
    return took


async def _turn(gateway: Bus, listener: Listener) -> None:
    message, deadline = _message(), Deadline.after(10)
    subject = subjects.inbound(message.tenant, message.conversation_id, message.message_id)
    await gateway.store_once(
        subject, message, deadline=deadline, valid_until=Deadline.from_ms(message.deadline_ms)
    )
    heard = await listener.next(deadline)
    while not (isinstance(heard, OutboundMessage) and heard.message_id == message.message_id):
        heard = await listener.next(deadline)


def _message() -> InboundMessage:
    number, now_ms = next(_number), int(time.time() * 1000)
    return InboundMessage(
        platform="webhook",
        sender_id="user",
        content=TEXT,
        timestamp=now_ms // 1000,
        message_id=MessageId(f"message-{number}"),
        tenant=TENANT,
        conversation_id=ConversationId(f"conversation-{number}"),
        channel=CHANNEL,
        accepted_at_ms=now_ms,
        deadline_ms=now_ms + 60_000,
    )


async def _parts(assistant: Bus) -> None:
    number, data = next(_number), encode(Echo(text=TEXT))
    conversation, message = ConversationId(f"bare-{number}"), MessageId(f"bare-{number}")
    # INBOUND itself would wake the worker; this stream is configured like it.
    into = subjects.turn(TENANT, conversation, message, 0)
    out = subjects.outbound(Channel("bare"), TENANT, conversation, message, 0)
    await assistant.jetstream.publish(into, data)
    await assistant.client.request(RAW_SUBJECT, data, timeout=10)
    await assistant.jetstream.publish(out, data)
