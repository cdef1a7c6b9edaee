"""What is true of replies on their way to a platform that may or may not have taken them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.gateway.domain.splitting import TextLimit, split
from clawdbot.schema.deliveries import ReplyDelivery
from clawdbot.schema.errors import Conflict, Unavailable
from clawdbot.schema.ids import derived
from clawdbot.schema.messages import InboundMessage, OutboundMessage

MOST_DOUBTS = 2
"""A piece of which nobody knows whether it shows is sent once more, and then not again."""
MARK = "…"
"""Ends a draft: more is coming."""


class AnswerLost(Unavailable):
    """The platform may have taken the request: its answer did not arrive."""


class MayShow(Conflict):
    """It was sent as often as it may be, and nobody knows whether it shows."""

    code: ClassVar[str] = "may_show"


@dataclass(frozen=True)
class SendTraits:
    """What may be expected of sending one piece to one address."""

    shows_once: bool = False
    """Whether the piece, sent again under its key, still shows once."""
    edits: bool = False
    """Whether `send` returns an id that `edit` takes."""


@dataclass(frozen=True)
class Noted:
    """A record as it was read."""

    value: ReplyDelivery
    revision: int


def record_key(message_id: str, part: int) -> str:
    """Return the key of a stored reply's record."""
    return f"{message_id}.{part}"


def piece_key(reply: OutboundMessage, index: int, *distinction: str) -> str:
    """Return the idempotency key of one piece of `reply`."""
    return derived(reply.message_id, str(reply.part), str(index), *distinction)


def draft_of(message: InboundMessage, text: str) -> ReplyPart:
    """Return what shows of the reply to `message` while it is written."""
    reply = OutboundMessage(
        **message.model_dump(
            include={
                "channel",
                "tenant",
                "conversation_id",
                "message_id",
                "thread_id",
                "reply_to",
            }
        ),
        content=text,
        is_final=False,
        created_at_ms=message.accepted_at_ms,
    )
    # Not the last piece: files and buttons come with the stored reply.
    return ReplyPart(reply, text, index=0, count=2, idempotency_key=piece_key(reply, 0))


def preview(text: str, limit: TextLimit) -> str:
    """Return as much of unfinished `text` as one piece holds, code blocks closed, with a mark.

    A piece that is full goes without the mark; "" while there is nothing to show.
    """
    pieces = split(text, limit)
    if not pieces:
        return ""
    head = pieces[0].rstrip()
    # On the line of a fence it would be the block's language, or keep it from closing.
    is_fence = head.rpartition("\n")[2].lstrip().startswith(("```", "~~~"))
    marked = f"{head}\n{MARK}" if is_fence else f"{head} {MARK}"
    return marked if limit.size(marked) <= limit.most else head
