"""Replies on their way out, as their channel can show them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from clawdbot.runtime.attempts import OrderedHandler
from clawdbot.schema.delivery import Delivery
from clawdbot.schema.errors import ErrorReply
from clawdbot.schema.messages import OutboundMessage


class Presented:
    """Hands each reply over as `present` makes it; an `OrderedHandler[OutboundMessage]`."""

    def __init__(
        self,
        handler: OrderedHandler[OutboundMessage],
        present: Callable[[OutboundMessage], OutboundMessage],
    ) -> None:
        self._handler = handler
        self._present = present

    async def handle(self, delivery: Delivery[OutboundMessage]) -> None:
        """Deliver the reply as it is shown."""
        await self._handler.handle(replace(delivery, message=self._present(delivery.message)))

    async def given_up(self, delivery: Delivery[OutboundMessage], error: ErrorReply) -> None:
        """Let the handler note that it will not arrive."""
        await self._handler.given_up(delivery, error)
