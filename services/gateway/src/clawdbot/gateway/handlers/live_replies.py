"""Shows people that their answer is being written: typing, and a draft that grows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from clawdbot.gateway.domain.deliveries import draft_of
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.gateway.handlers.drafts import Draft, Line
from clawdbot.gateway.ports import DeliveryRecords, Heard, Listening, Replies
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, DeadlineExceeded, Overloaded, Unavailable
from clawdbot.schema.ids import Channel, ConversationId
from clawdbot.schema.messages import Delta, InboundMessage

log = logging.getLogger(__name__)

MOST_LIVE = 256
"""Answers that one process shows at a time; beyond them people see the finished one alone."""
LONGEST_S = 300.0
"""An answer that takes longer is no longer followed."""
LOOK_EVERY_S = 5.0
"""How often it is looked whether the stored reply was missed."""
TYPING_SHARE = 0.8
"""Share of the platform's time after which typing is shown again."""
CLOSE_S = 3.0


class LiveReplies:
    """A `Live`; a courtesy, so that none of its failures is anybody else's.

    Args:
        replies: what is said about a message.
        records: who may touch a reply's message.
        lines: how each account shows it; others show nothing.
        owner: names this process.
    """

    def __init__(
        self,
        replies: Replies,
        records: DeliveryRecords,
        lines: Mapping[Channel, Line],
        owner: str,
    ) -> None:
        self._replies = replies
        self._records = records
        self._lines = lines
        self._owner = owner
        self._tasks: set[asyncio.Task[None]] = set()
        self._typing: dict[ConversationId, object] = {}
        self._is_closing = False

    def begin(self, message: InboundMessage) -> None:
        """Show it for the reply to `message`, if there is room."""
        line = self._lines.get(message.channel)
        # What a control word is answered is short, and ready at once.
        is_quick = message.control is not None
        if line is None or is_quick or self._is_closing or len(self._tasks) >= MOST_LIVE:
            return
        task = asyncio.create_task(self._show(line, message), name="live-reply")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def aclose(self) -> None:
        """End all of them, each leaving its message to whoever delivers the reply."""
        self._is_closing = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("a live reply failed", exc_info=error)

    async def _show(self, line: Line, message: InboundMessage) -> None:
        try:
            async with self._replies.listen(message) as listening:
                if not await self._is_answered(message):
                    await self._follow(line, message, listening)
        except ClawdbotError as exc:
            log.info("live reply given up", extra={"reason": exc.message})

    async def _follow(self, line: Line, message: InboundMessage, listening: Listening) -> None:
        draft = Draft(line, message, self._records, f"{self._owner}/draft")
        typing = asyncio.create_task(self._show_typing(line, message), name="typing")
        try:
            await self._until_answered(message, draft if line.edits else None, listening)
        finally:
            typing.cancel()
            await _finished(asyncio.create_task(draft.close()))
            await asyncio.gather(typing, return_exceptions=True)

    async def _until_answered(
        self, message: InboundMessage, draft: Draft | None, listening: Listening
    ) -> None:
        end = Deadline.after(LONGEST_S)
        look = Deadline.after(LOOK_EVERY_S)
        while end.remaining_s() > 0:
            due_s = draft.due_in_s() if draft else None
            if draft and due_s is not None and due_s <= 0:
                await draft.show()
                continue
            heard = await _hear(listening, look if due_s is None else look.within(due_s))
            if isinstance(heard, Delta):
                if draft and heard.message_id == message.message_id:
                    draft.take(heard)
            elif heard is not None and heard.message_id == message.message_id:
                return
            elif look.remaining_s() <= 0:
                # What is broadcast may be lost; what is stored is not.
                if await self._is_answered(message):
                    return
                look = Deadline.after(LOOK_EVERY_S)

    async def _is_answered(self, message: InboundMessage) -> bool:
        try:
            deadline = Deadline.after(LOOK_EVERY_S)
            return await self._replies.answered(message, deadline=deadline) is not None
        except (Unavailable, DeadlineExceeded):
            return False

    async def _show_typing(self, line: Line, message: InboundMessage) -> None:
        if line.typing_s is None:
            return
        conversation, part = message.conversation_id, draft_of(message, "")
        me = object()
        try:
            while True:
                wait_s = TYPING_SHARE * line.typing_s
                # Of several messages of a conversation one shows it for all.
                if self._typing.setdefault(conversation, me) is me:
                    wait_s = max(wait_s, await _typed(line, part))
                await asyncio.sleep(wait_s)
        except ClawdbotError as exc:
            log.info("typing not shown", extra={"reason": exc.message})
        finally:
            if self._typing.get(conversation) is me:
                del self._typing[conversation]


async def _typed(line: Line, part: ReplyPart) -> float:
    """Show typing; return how many seconds the platform asks to wait."""
    try:
        await line.sender.show_typing(part, deadline=Deadline.after(line.pace.call_s))
    except Overloaded as exc:
        return exc.retry_after_s
    return 0.0


async def _hear(listening: Listening, deadline: Deadline) -> Heard | None:
    try:
        return await listening.next(deadline)
    except DeadlineExceeded:
        return None
    except Overloaded:
        # A listener that lost messages says so from now on; only what is stored is left.
        await asyncio.sleep(max(0.0, deadline.remaining_s()))
        return None


async def _finished(task: asyncio.Task[None]) -> None:
    """Wait for `task` also when whoever waits is cancelled meanwhile; it ends by itself."""
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=CLOSE_S)
        raise
