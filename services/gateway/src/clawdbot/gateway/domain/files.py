"""What is true of files that come with messages and go with replies."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from clawdbot.schema.messages import Attachment, OutboundMessage

Link = Callable[[Attachment], str]
"""Gives the address under which an attachment's content is downloaded, "" if there is none."""


@dataclass(frozen=True)
class OpenFile:
    """A file whose content is arriving."""

    media_type: str
    """As its host says, in lower case and without parameters; "" when it says nothing."""
    content: AsyncGenerator[bytes, None]
    """Ends with TooLarge, DeadlineExceeded or Unavailable when it cannot be had whole."""


def presented(reply: OutboundMessage, link: Link, *, takes_files: bool) -> OutboundMessage:
    """Return `reply` as a channel can show it, which may take files or text alone."""
    linked = with_links(reply, link)
    return linked if takes_files else with_lines(linked)


def with_links(reply: OutboundMessage, link: Link) -> OutboundMessage:
    """Return `reply` as it leaves: what lies in the object store has an address there."""
    if not any(attachment.blob for attachment in reply.attachments):
        return reply
    files = tuple(_linked(attachment, link) for attachment in reply.attachments)
    return reply.model_copy(update={"attachments": files})


def with_lines(reply: OutboundMessage) -> OutboundMessage:
    """Return `reply` with a line for each file, for a channel that shows text alone."""
    if not reply.attachments:
        return reply
    lines = "\n".join(map(_line, reply.attachments))
    content = "\n\n".join(filter(None, [reply.content.rstrip(), lines]))
    return reply.model_copy(update={"content": content})


def _linked(attachment: Attachment, link: Link) -> Attachment:
    if attachment.blob is None:
        return attachment
    found = {"url": link(attachment) or attachment.url, "blob": None}
    return attachment.model_copy(update=found)


def _line(attachment: Attachment) -> str:
    # One line: a name must not look like something that the assistant said.
    label = " ".join((attachment.name or attachment.type).split())
    is_public = attachment.url.startswith(("https://", "http://"))
    return f"{label}: {attachment.url}" if is_public else label
