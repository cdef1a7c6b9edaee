"""An assistant whose model costs nothing, as a process: journal, one rpc, one reply."""

from __future__ import annotations

import time

from bench.echo import ECHO, MODEL, Echo
from clawdbot.runtime.bus import Bus
from clawdbot.runtime.config import Config
from clawdbot.runtime.journal import Journal
from clawdbot.runtime.service import Runtime, main
from clawdbot.schema import subjects
from clawdbot.schema.delivery import Delivery
from clawdbot.schema.errors import ErrorReply
from clawdbot.schema.messages import InboundMessage, OutboundMessage
from clawdbot.schema.streams import INBOUND, TURN_WORKER


class Turns:
    """Answers each message with its own text."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._journal = Journal(bus)

    async def handle(self, delivery: Delivery[InboundMessage]) -> None:
        """Take one journalled step and store the reply."""
        message, deadline = delivery.message, delivery.deadline

        async def think() -> Echo:
            request = Echo(text=message.content)
            return await self._bus.call(ECHO, request, deadline=deadline, target=MODEL)

        answer = await self._journal.step(message, 0, "answer", Echo, think, deadline=deadline)
        reply = OutboundMessage(
            channel=message.channel,
            tenant=message.tenant,
            conversation_id=message.conversation_id,
            message_id=message.message_id,
            content=answer.text,
            created_at_ms=int(time.time() * 1000),
        )
        subject = subjects.outbound(
            reply.channel, reply.tenant, reply.conversation_id, reply.message_id, reply.part
        )
        await self._bus.store_once(subject, reply, deadline=deadline)

    async def given_up(self, delivery: Delivery[InboundMessage], error: ErrorReply) -> None:
        """Leave it to the asker's deadline."""


async def run(config: Config) -> None:
    """Answer until stopped."""
    async with Runtime.open("assistant", config) as runtime:
        handler = Turns(runtime.bus)
        await runtime.consume(INBOUND, TURN_WORKER, InboundMessage, handler, concurrency=8)
        await runtime.until_stopped()


if __name__ == "__main__":
    main("assistant", run)
