"""Who may write to the assistant, and which of them are one person: asked of the gateway.

Only the operator may ask: the broker knows them by their key, so no principal is needed.
"""

from __future__ import annotations

from pydantic import Field

from clawdbot.schema.ids import Channel, Tenant
from clawdbot.schema.rpc import Rpc
from clawdbot.schema.wire import Wire

SERVICE = "gateway"
MAX_LISTED = 1000


class SenderName(Wire):
    """A sender as an operator names them."""

    SCHEMA = "sender_name/1"

    channel: Channel
    sender_id: str = Field(min_length=1, max_length=256)
    """The platform's own id of the person, or the subject of a token."""
    platform: str | None = Field(default=None, max_length=64)
    """Where one channel speaks for several platforms; None is the channel's own."""
    tenant: Tenant | None = None
    """Where one channel speaks for several tenants; None is the channel's own."""


class Link(Wire):
    """A share in a person; it holds while the sender whose user id it names has the same one."""

    SCHEMA = "sender_link/1"

    user: str = Field(min_length=1, max_length=64)
    """The person's user id: the own one of their first sender."""
    group: str = Field(min_length=1, max_length=64)
    """Random, so that links that were dissolved do not come back with the next ones."""


class Sender(Wire):
    """What is kept of a sender, and what an operator gets to see."""

    SCHEMA = "sender/1"

    tenant: Tenant
    channel: Channel
    platform: str = Field(min_length=1, max_length=64)
    sender_id: str = Field(min_length=1, max_length=256)
    user: str = Field(min_length=1, max_length=64)
    """The sender's own user id, a keyed hash."""
    paired_at_ms: int | None = None
    """When an administrator let them in, Unix milliseconds; None when nobody did."""
    link: Link | None = None


class Applicant(Wire):
    """A sender who was told a code and waits to be let in."""

    SCHEMA = "sender_applicant/1"

    sender: Sender
    code: str = Field(min_length=1, max_length=16)
    asked_at_ms: int
    """When they first wrote, Unix milliseconds."""
    expires_at_ms: int
    """From then on the code is worth nothing."""
    told: int = 1
    """How often they were told the code."""


class SendersRequest(Wire):
    """Asks who is known and who waits."""

    SCHEMA = "senders_request/1"


class SendersReply(Wire):
    """Who is known and who waits."""

    SCHEMA = "senders_reply/1"

    known: tuple[Sender, ...]
    """At most `MAX_LISTED`, those who changed longest ago first; links that hold, and no others."""
    waiting: tuple[Applicant, ...]
    is_cut: bool = False
    """Whether more are known than are listed."""


class ApproveSenderRequest(Wire):
    """Lets in whoever was told the code; it works once."""

    SCHEMA = "approve_sender_request/1"

    code: str = Field(min_length=1, max_length=64)


class RemoveSenderRequest(Wire):
    """Forgets a sender: they are not let in any more, and linked to nobody."""

    SCHEMA = "remove_sender_request/1"

    sender: SenderName


class LinkSendersRequest(Wire):
    """Makes the second sender the same person as the first, whose memory both have from then on."""

    SCHEMA = "link_senders_request/1"

    first: SenderName
    second: SenderName


class UnlinkSenderRequest(Wire):
    """Makes a sender a person of their own again; if they were the first, everybody linked."""

    SCHEMA = "unlink_sender_request/1"

    sender: SenderName


SENDERS = Rpc(SERVICE, "senders", SendersRequest, SendersReply)
APPROVE = Rpc(SERVICE, "approve_sender", ApproveSenderRequest, Sender)
REMOVE = Rpc(SERVICE, "remove_sender", RemoveSenderRequest, Sender)
LINK = Rpc(SERVICE, "link_senders", LinkSendersRequest, Sender)
UNLINK = Rpc(SERVICE, "unlink_sender", UnlinkSenderRequest, Sender)
