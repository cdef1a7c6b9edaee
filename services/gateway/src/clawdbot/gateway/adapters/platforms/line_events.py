"""Events of a LINE webhook: which of them a person said to us, and what.

Sources (developers.line.biz, Messaging API reference): "Webhook event objects", "Message event",
"Postback event", "Common properties" (`mode`, `source`), "Text" (`mention`, whose positions are
those of "Character counting in a text": UTF-16 units).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, Strict
from pydantic.alias_generators import to_camel

from clawdbot.gateway.adapters.fields import Body, Content, Label, Name
from clawdbot.gateway.adapters.platforms.buttons import is_ours
from clawdbot.schema.controls import control_of
from clawdbot.schema.messages import Attachment

SCHEME = "line"
MESSAGE, POSTBACK = "message", "postback"
ACTIVE = "active"
"""Mode of an event that we may answer; in `standby` another module of the channel does."""
DIRECT = "user"
FILES = {"image": "image/jpeg", "video": "video/mp4", "audio": "audio/mp4", "file": None}
"""Messages that are a file, and what LINE's apps send; where it is fetched its host says it."""


class LINEBody(Body):
    """Fields that LINE writes in camel case."""

    model_config = ConfigDict(alias_generator=to_camel)


class Source(LINEBody):
    """Where something happened."""

    type: str
    user_id: Name | None = None
    """Not there for a group's member who has not agreed to be known."""
    group_id: Name | None = None
    room_id: Name | None = None

    @property
    def chat(self) -> str | None:
        """The group, the room, or the person: what a push is sent to."""
        return self.group_id or self.room_id or self.user_id

    @property
    def is_shared(self) -> bool:
        """Whether others than the sender read along."""
        return self.type != DIRECT


class Mentionee(LINEBody):
    """Somebody who is mentioned."""

    index: Annotated[int, Field(ge=0)] = 0
    length: Annotated[int, Field(ge=0)] = 0
    is_self: bool = False


class Mention(LINEBody):
    """Everybody who is."""

    mentionees: Annotated[tuple[Mentionee, ...], Strict(False)] = ()


class Provider(LINEBody):
    """Who keeps a file: LINE, or whoever sent it."""

    type: str = SCHEME
    original_content_url: Annotated[str, Field(max_length=4096)] | None = None


class Said(LINEBody):
    """A message."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    type: str
    text: Content = ""
    mention: Mention = Mention()
    file_name: Label | None = None
    content_provider: Provider = Provider()

    @property
    def mentions_us(self) -> bool:
        """Whether its sender chose us from the list of members."""
        return any(one.is_self for one in self.mention.mentionees)

    @property
    def content(self) -> str:
        """The text, without a mention of us in front."""
        text = self.text
        for one in self.mention.mentionees:
            if one.is_self and one.index == 0:
                units = text.encode("utf-16-le")[2 * one.length :]
                text = units.decode("utf-16-le", "replace").strip() or text
        return text

    def attachments(self) -> tuple[Attachment, ...]:
        """Return the file that it is, by LINE's id unless it lies elsewhere."""
        if self.type not in FILES:
            return ()
        url = f"{SCHEME}:{self.id}"
        if self.content_provider.type != SCHEME:
            url = self.content_provider.original_content_url or url
        kind = self.type
        return (Attachment(type=kind, url=url, name=self.file_name, media_type=FILES[kind]),)


class Pressed(LINEBody):
    """A button that was pressed."""

    data: Content = ""


class Event(LINEBody):
    """One of those that a request holds."""

    type: str
    mode: str = ACTIVE
    webhook_event_id: Name | None = None
    timestamp: Annotated[int, Field(ge=0)] = 0
    """Unix milliseconds, the same when it is delivered again."""
    source: Source | None = None
    reply_token: Annotated[str, Field(max_length=256)] | None = None
    message: Said | None = None
    postback: Pressed | None = None

    def content(self, *, answers_all: bool) -> str | None:
        """Return what is said to us, "" for a file alone; None when nothing is.

        Args:
            answers_all: whether that needs no mention of us in a group.
        """
        if self.type == POSTBACK and self.postback is not None:
            return self.postback.data if is_ours(self.postback.data) else None
        if self.type != MESSAGE or self.message is None or self.source is None:
            return None
        text, files = self.message.content, self.message.attachments()
        is_said = bool(files) or (self.message.type == "text" and bool(text.strip()))
        is_for_us = answers_all or not self.source.is_shared or self.message.mentions_us
        if is_said and (is_for_us or control_of(text) is not None):
            return text
        return None


class Delivery(LINEBody):
    """A request's body."""

    destination: str | None = None
    """We, as a user id."""
    events: Annotated[tuple[dict[str, object], ...], Strict(False)]
