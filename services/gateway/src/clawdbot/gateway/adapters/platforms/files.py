"""Files that came with messages: where their platform says they are, fetched through the guard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from clawdbot.gateway.adapters.guarded_http import FileRequest, GuardedHTTP
from clawdbot.gateway.adapters.platforms.addresses import SealedAddresses
from clawdbot.gateway.adapters.platforms.connections import Connection
from clawdbot.gateway.adapters.platforms.interface import LocatesFiles
from clawdbot.gateway.domain.files import OpenFile
from clawdbot.runtime.telemetry import SpanKind, span
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import InvalidMessage
from clawdbot.schema.messages import InboundMessage

WEB = ("https://", "http://")


class PlatformFiles:
    """The gateway's `Files`.

    Args:
        http: goes where the guard lets it.
        connections: accounts whose adapters may know where their files are.
        addresses: opens what came with their messages.
    """

    def __init__(
        self, http: GuardedHTTP, connections: Iterable[Connection], addresses: SealedAddresses
    ) -> None:
        self._http = http
        self._adapters = {one.account.channel: one.adapter for one in connections}
        self._addresses = addresses

    @asynccontextmanager
    async def open(
        self, message: InboundMessage, index: int, *, max_bytes: int, deadline: Deadline
    ) -> AsyncIterator[OpenFile]:
        """Yield the file that attachment `index` of `message` names."""
        # Neither address nor name: one may hold a token, the other is content.
        with span("GET attachment", kind=SpanKind.CLIENT):
            request = await self._located(message, index, deadline)
            async with self._http.open(request, max_bytes=max_bytes, deadline=deadline) as file:
                yield file

    async def _located(
        self, message: InboundMessage, index: int, deadline: Deadline
    ) -> FileRequest:
        attachment = message.attachments[index]
        adapter = self._adapters.get(message.channel)
        if isinstance(adapter, LocatesFiles):
            address = self._addresses.open(message)
            return await adapter.locate(attachment, address, deadline=deadline)
        if not attachment.url.lower().startswith(WEB):
            raise InvalidMessage("this channel has no such files", field="url")
        return FileRequest(attachment.url)
