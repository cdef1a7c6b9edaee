"""Updates of the Telegram Bot API: which of them a person said, and what.

`is_topic_message` decides whether there is a thread: `message_thread_id` is also set on ordinary
replies in supergroups, where sending it back is refused.

Source: core.telegram.org/bots/api, `Update`, `Message`, `User`, `Chat`, `PhotoSize`, `Animation`
(Bot API 10.3); core.telegram.org/bots/features#commands (`/command@username` in groups).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import BeforeValidator, Field, Strict

from clawdbot.gateway.adapters.fields import Body, Content, Name, storable
from clawdbot.schema.messages import Attachment

SCHEME = "telegram"
MAX_LABEL_CHARS = 255
PHOTO_TYPE = "image/jpeg"
"""Telegram converts what is sent as a photo, and names no type for it."""
_COMMAND = re.compile(r"(/[A-Za-z0-9_]{1,64})@([A-Za-z0-9_]{1,64})(?![A-Za-z0-9_])")


def _label(value: object) -> object:
    value = storable(value)
    return value[:MAX_LABEL_CHARS] if isinstance(value, str) else value


Id = Annotated[int, Field(ge=-(2**53), le=2**53)]
"""At most 52 significant bits, says the documentation."""
Label = Annotated[str | None, BeforeValidator(_label)]


class User(Body):
    """Who said something."""

    id: Id
    is_bot: bool


class Chat(Body):
    """Where it was said."""

    id: Id
    type: str = ""
    """`private` is a conversation of one person with the bot; all others have more readers."""
    is_direct_messages: bool = False
    """Whether people write to a channel there."""


class File(Body):
    """A file as messages hold it."""

    file_id: Name
    file_name: Label = None
    mime_type: Label = None

    def attachment(self, kind: str, media_type: str | None = None) -> Attachment:
        """Return it with a reference: its URL would hold the bot's token."""
        return Attachment(
            type=kind,
            url=f"{SCHEME}:{self.file_id}",
            name=self.file_name,
            media_type=self.mime_type or media_type,
        )


class PhotoSize(File):
    """One of the sizes of a photo."""

    width: int = 0
    height: int = 0


class Said(Body):
    """A message of whatever kind."""

    message_id: Id
    date: int
    chat: Chat
    sender: Annotated[User | None, Field(alias="from")] = None
    sender_chat: Chat | None = None
    message_thread_id: Id | None = None
    is_topic_message: bool = False
    is_automatic_forward: bool = False
    text: Content = ""
    caption: Content = ""
    photo: Annotated[tuple[PhotoSize, ...], Strict(False)] = ()
    animation: File | None = None
    document: File | None = None
    voice: File | None = None
    audio: File | None = None
    video: File | None = None
    video_note: File | None = None

    @property
    def topic_id(self) -> int | None:
        """The topic of a forum that it belongs to."""
        return self.message_thread_id if self.is_topic_message else None

    def attachments(self) -> tuple[Attachment, ...]:
        """Return its files, of a photo the largest size."""
        return tuple(self._attachments())

    def _attachments(self) -> Iterator[Attachment]:
        if self.photo:
            largest = max(self.photo, key=lambda size: size.width * size.height)
            yield largest.attachment("image", PHOTO_TYPE)
        # An animation comes a second time as a document, for old clients.
        document = None if self.animation else self.document
        for kind, file in (
            ("video", self.animation),
            ("file", document),
            ("audio", self.voice),
            ("audio", self.audio),
            ("video", self.video),
            ("video", self.video_note),
        ):
            if file is not None:
                yield file.attachment(kind)


class PressedBelow(Body):
    """The message that a button stands below; of an old one, only where it is."""

    message_id: Id
    chat: Chat
    message_thread_id: Id | None = None
    is_topic_message: bool = False

    @property
    def topic_id(self) -> int | None:
        """The topic of a forum that it belongs to."""
        return self.message_thread_id if self.is_topic_message else None


class Pressed(Body):
    """A button below a message."""

    id: Name
    sender: Annotated[User | None, Field(alias="from")] = None
    message: PressedBelow | None = None
    data: Content = ""


class Update(Body):
    """At most one of the fields beside its id is there."""

    update_id: Annotated[int, Field(ge=0, le=2**53)]
    message: Said | None = None
    channel_post: Said | None = None
    callback_query: Pressed | None = None


def said_by(update: Update, own_ids: frozenset[int]) -> int | None:
    """Return the id of the person whose message is to be answered, None if there is none.

    Anonymous administrators and channels write through bots of Telegram's own, so they are not
    told from bots; a forwarded channel post was not said in the group.
    """
    said = update.message
    if said is None or said.is_automatic_forward or said.chat.is_direct_messages:
        return None
    sender = said.sender
    if sender is None or sender.is_bot or sender.id in own_ids:
        return None
    return sender.id


def content_for(said: Said, username: str) -> str | None:
    """Return the text, its command freed from `@username`; None if that names another bot.

    Args:
        said: the message.
        username: ours, in lower case; "" takes every name for ours.
    """
    content = said.text or said.caption
    match = _COMMAND.match(content)
    if match is None:
        return content
    if username and match[2].lower() != username:
        return None
    return match[1] + content[match.end() :]
