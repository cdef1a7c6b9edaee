"""How far a reply is sent: what one gateway replica leaves for the next, also when it dies."""

from __future__ import annotations

from pydantic import Field

from clawdbot.schema.wire import Wire


class ReplyDelivery(Wire):
    """The record of one stored reply, under `<message id>.<part>`; changed by compare-and-set.

    It is written before what it announces and after what it reports, so that whoever finds it
    knows what may have happened since.
    """

    SCHEMA = "reply_delivery/1"

    owner: str = ""
    """The process that wrote it."""
    is_drafting: bool = False
    """Whether `owner` still shows the reply while it is written; nobody else sends it then."""
    draft_id: str | None = None
    """The platform's id of the draft, which becomes the reply's first piece."""
    sent: int = Field(default=0, ge=0)
    """Pieces that are known to show in full."""
    doubts: int = Field(default=0, ge=0)
    """How often the next piece was sent without anybody knowing whether it shows."""
