"""What Microsoft Teams and the Bot Framework say: activities.

Sources: learn.microsoft.com, "Bot Framework activity schema", "Create outgoing webhooks",
"Send and receive files from a bot" (Teams).
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, Strict

from clawdbot.gateway.adapters.fields import Body, Content, Name, read_fields
from clawdbot.schema.errors import InvalidMessage
from clawdbot.schema.messages import MAX_ATTACHMENTS, Attachment

MESSAGE = "message"
FILE = "application/vnd.microsoft.teams.file.download.info"
PERSONAL = "personal"
BOT = "bot"
_CALL = re.compile(r"\A\s*<at>[^<]{0,256}</at>\s*")
MAX_URL_CHARS = 4096

Id = Annotated[str, Field(min_length=1, max_length=1024)]


class Party(Body):
    """Who says it, or to whom."""

    id: Name
    aad_object_id: Annotated[str | None, Field(alias="aadObjectId", max_length=64)] = None
    role: str | None = None


class Conversation(Body):
    """Where it is said; of a channel's thread the id names the thread, too."""

    id: Id
    kind: Annotated[str | None, Field(alias="conversationType")] = None


class Activity(Body):
    """Somebody's message."""

    id: Id
    sender: Annotated[Party, Field(alias="from")]
    conversation: Conversation
    recipient: Party | None = None
    channel: Annotated[str, Field(alias="channelId", max_length=64)] = ""
    service_url: Annotated[str, Field(alias="serviceUrl", max_length=2048)] = ""
    text: Content = ""
    timestamp: Annotated[str | None, Field(max_length=64)] = None
    files: Annotated[tuple[dict[str, Any], ...], Field(alias="attachments"), Strict(False)] = ()

    @property
    def event_id(self) -> str:
        """An id is unique in its conversation, whose own is longer than ours may be."""
        return hashlib.sha256(f"{self.conversation.id}\x00{self.id}".encode()).hexdigest()

    @property
    def sender_id(self) -> str:
        """The person's id in their organisation, else the platform's for this bot."""
        return self.sender.aad_object_id or self.sender.id

    @property
    def content(self) -> str:
        """The text without the mention in front that called us."""
        text = self.text.replace("&nbsp;", " ").replace("\xa0", " ")
        return _CALL.sub("", text).strip()

    @property
    def at_s(self) -> int | None:
        """When it was said, in Unix seconds."""
        try:
            return int(datetime.fromisoformat(self.timestamp or "").timestamp())
        except (ValueError, OverflowError):
            return None

    def attachments(self) -> tuple[Attachment, ...]:
        """Return the files that can be fetched without a token of ours."""
        found = [_file(each) for each in self.files]
        return tuple(file for file in found if file is not None)[:MAX_ATTACHMENTS]


class Kind(Body):
    """What tells a message from everything else that happens."""

    type: str


class Download(Body):
    """Where a file is."""

    url: Annotated[str, Field(alias="downloadUrl", pattern="^https://", max_length=MAX_URL_CHARS)]


class File(Body):
    """A file that came with a message."""

    name: Annotated[str | None, Field(max_length=255)] = None
    content: Download


def _file(values: dict[str, Any]) -> Attachment | None:
    if values.get("contentType") != FILE:
        return None
    try:
        file = read_fields(File, values)
    except InvalidMessage:
        return None
    return Attachment(type="file", url=file.content.url, name=file.name)
